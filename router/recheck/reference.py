"""The pinned rows: labels that a certificate rests on, and what one of them has cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from router.promise.same_teacher import SameTeacher, drawn
from students.errors import BadInputs
from students.label.labelled import LabelledSet
from students.label.record import RECORD_FILE, LabellingRecord, load_labels, load_record
from students.task import Task
from students.teachers.protocol import TeacherDescriptor

JUDGING = ("calibration", "test")


@dataclass(frozen=True, slots=True)
class Reference:
    """What labelling left: who was asked, and which of its rows judge. Texts are read when due."""

    work_dir: Path
    record: LabellingRecord

    @property
    def labels_sha256(self) -> str:
        """Which labels these are: others are another reference."""
        return self.record.labels_sha256

    @property
    def unseen(self) -> SameTeacher:
        """What is known of their teacher before it was ever asked again.

        Raises:
            BadSettings: it was never asked twice, so nobody knows how often it changes its mind.
        """
        agreement = self.record.self_agreement
        return SameTeacher.of(self.labels_sha256, agreement.n, agreement.agreed)

    def of(self, teacher: TeacherDescriptor) -> bool:
        """Whether it is this teacher's labels."""
        return asdict(self.record.teacher.descriptor) == asdict(teacher)

    def rows(self, most: int, max_usd: Decimal | None, rng: random.Random) -> list[int]:
        """Draw rows that judge, as many as the dollars pay at what a label has cost."""
        each = self.record.usd / max(1, self.record.n)
        if max_usd is not None and each:
            most = min(most, int(max_usd / each))
        splits = self.record.split_rows()
        return drawn([int(row) for name in JUDGING for row in splits[name]], most, rng)

    def load(self) -> LabelledSet:
        """Read texts and labels.

        Raises:
            BadInputs: they are gone, or others by now.
        """
        labelled, record = load_labels(self.work_dir)
        if record.labels_sha256 != self.labels_sha256:
            raise BadInputs(f"the labels in {self.work_dir} are others by now")
        return labelled


class ReferenceReader:
    """Reads what labelling left in a work_dir, again only when it has changed."""

    def __init__(self, task: Task) -> None:
        self._work_dir = task.work_dir
        self._stamp: tuple[int, int] | None = None
        self._known: Reference | None = None

    def read(self) -> Reference | None:
        """Return it; None where nothing was labelled here.

        Raises:
            BadInputs: the record is there and unreadable.
        """
        try:
            found = (self._work_dir / RECORD_FILE).stat()
        except FileNotFoundError:
            return None
        stamp = found.st_mtime_ns, found.st_size
        if stamp != self._stamp:
            self._known = Reference(self._work_dir, load_record(self._work_dir))
            self._stamp = stamp
        return self._known


def compare(
    labelled: LabelledSet, rows: Sequence[int], today: Sequence[int | None]
) -> list[tuple[int, int]]:
    """Put labels on record beside those of today; None: no answer, and nothing to compare."""
    return [
        (int(labelled.teacher[row]), label)
        for row, label in zip(rows, today, strict=True)
        if label is not None
    ]
