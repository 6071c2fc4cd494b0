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
    """Ask the student as the router does, in batches."""
    predictions = [
        p for i in range(0, len(texts), BATCH) for p in student.predict(texts[i : i + BATCH])
    ]
    return StudentAnswers(
        np.array([p.probabilities for p in predictions], np.float32).reshape(
            len(texts), len(student.schema)
        ),
        np.array([p.label for p in predictions], np.int64),
        np.array([p.confidence for p in predictions], np.float64),
    )
