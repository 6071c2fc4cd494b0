"""What a student says of many texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from students.label.labelled import LabelledSet
from students.runtime.protocol import Student

BATCH = 256


@dataclass(frozen=True, eq=False)
class StudentAnswers:
    """What the student says of N texts: (N, K), (N,), (N,)."""

    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


class PartsAnswered:
    """What one student says of each part of the rows; a part is asked once, when it is needed."""

    def __init__(self, student: Student, part: Mapping[str, LabelledSet]) -> None:
        self.student = student
        self.part = part
        self._said: dict[str, StudentAnswers] = {}

    def __getitem__(self, name: str) -> StudentAnswers:
        """Return what it says of that part."""
        if name not in self._said:
            self._said[name] = answer(self.student, self.part[name].texts)
        return self._said[name]


def answer(student: Student, texts: Sequence[str]) -> StudentAnswers:
    """Ask the student as the router does, in batches; only arrays stay of them."""
    n = len(texts)
    said = StudentAnswers(
        np.empty((n, len(student.schema)), np.float32), np.empty(n, np.int64), np.empty(n)
    )
    for start in range(0, n, BATCH):
        for row, one in enumerate(student.predict(texts[start : start + BATCH]), start):
            said.probabilities[row] = one.probabilities
            said.labels[row] = one.label
            said.confidence[row] = one.confidence
    return said
