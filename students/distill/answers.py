"""What a student says of many texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from students.runtime.protocol import Student

BATCH = 256


@dataclass(frozen=True, eq=False)
class StudentAnswers:
    """What the student says of N texts: (N, K), (N,), (N,)."""

    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


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
