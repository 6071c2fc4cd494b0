"""Turn the published messages into the demo's rows: who may see which.

- 4,000 random rows of the published train split fine-tune the stand-in teacher on gold labels.
- 10,000 others are what it labels for the student: the teacher never trained on these.
- The published validation and test rows are the traffic: a random half calibrates and certifies,
  the other half is replayed through the router and never touched before.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TEACHER_ROWS = 4_000
STUDENT_ROWS = 10_000
LABELS = ("not_urgent", "urgent")


@dataclass(frozen=True)
class Row:
    """One message with its gold label and the split it belongs to."""

    text: str
    gold: str
    split: str


def read_rows(messages: Path, *, limit: int | None = None, seed: int = 0) -> list[Row]:
    """Read the published CSV into rows; split `teacher` is for the teacher's own training.

    `limit` keeps a random share of every split, for quick runs.
    """
    with messages.open(encoding="utf-8-sig", newline="") as stream:
        published = [
            (line["message"].strip(), LABELS[int(line["request"])], line["split"])
            for line in csv.DictReader(stream)
            if line["message"].strip()
        ]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(published))
    train = [published[i] for i in order if published[i][2] == "train"]
    traffic = [published[i] for i in order if published[i][2] != "train"]
    teacher = train[:TEACHER_ROWS]
    student = train[TEACHER_ROWS : TEACHER_ROWS + STUDENT_ROWS]
    tenth = len(student) // 10
    half = len(traffic) // 2
    parts = {
        "teacher": teacher,
        "validation": student[:tenth],
        "temperature": student[tenth : 2 * tenth],
        "train": student[2 * tenth :],
        "calibration": traffic[:half],
        "test": traffic[half:],
    }
    total = len(published)
    share = 1.0 if limit is None else min(1.0, limit / total)
    return [
        Row(text, gold, split)
        for split, part in parts.items()
        for text, gold, _ in part[: max(1, round(len(part) * share))]
    ]


def write_inputs(rows: list[Row], target: Path) -> None:
    """Write every row but the teacher's own as the task's inputs: text, gold, split."""
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "gold", "split"])
        writer.writerows([r.text, r.gold, r.split] for r in rows if r.split != "teacher")
