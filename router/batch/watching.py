"""A job's audits in the one stream of its bundle, and the ruling that each chunk goes by.

A chunk goes by the ruling that was in force when the one before it was done: it is in the job's
journal, so that a run that was killed decides again as it did. An audit is told under its row's
number: the store takes it once.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.clock import Clock
from router.errors import BadSettings
from router.promise.earlier import taking_over
from router.promise.watch import Watch, judged_by
from router.shared.records import Audit, Ruling, StoreAway
from router.shared.store import Store
from students.certificate import Certificate
from students.labels import Prediction
from students.task import Task


class JobWatch:
    """Watches one bundle for one job.

    Attributes:
        ruling: what the next chunk goes by.

    Args:
        rate: with which rows are drawn.
        store: what all workers share.
    """

    def __init__(
        self,
        task: Task,
        bundle: str,
        certificate: Certificate,
        rate: float,
        store: Store,
        wall: Clock,
    ) -> None:
        self._task = task
        self._bundle = bundle
        self._rate = rate
        self._store = store
        self._reopen = judged_by(certificate.promise, certificate.agreement)
        self._told: list[Audit] = []
        self._watch = Watch(
            task.name, bundle, task.schema_.names, self._reopen, self._told.append, wall
        )
        self.ruling: Ruling = self._watch.ruling

    def begin(self) -> Ruling:
        """Take the ruling in force, evidence of older releases included.

        Raises:
            BadSettings: it cannot be had, so that an alarm may be forgotten.
        """
        try:
            with taking_over(self._task.work_dir, self._bundle) as earlier:
                self.ruling = self._store.amend(
                    "batch", self._task.name, self._bundle, self._reopen, earlier
                )
        except StoreAway as away:
            raise BadSettings(f"{away}, so an alarm may be forgotten") from None
        return self.ruling

    @property
    def alarmed(self) -> bool:
        """Whether every row must go to the teacher."""
        return self.ruling.verdict.escalate_all

    def raised(self, thresholds: Sequence[float]) -> tuple[float, ...]:
        """The certificate's thresholds, or higher where audits ask for that."""
        return tuple(max(own, self.ruling.verdict.threshold or 0.0) for own in thresholds)

    def compared(
        self, row: str, student: Prediction | None, teacher: int | None, *, escalated: bool
    ) -> None:
        """Take what student and teacher said of a row that was drawn."""
        self._watch.compared(row, self._rate, student, teacher, escalated=escalated)

    def fold(self, job: str) -> Ruling:
        """Tell the store what was compared since the last time, and go by its ruling from now on.

        Raises:
            BadSettings: it cannot be reached; the chunk is not done, and is done again.
        """
        numbered = [(int(one.request_id.rpartition("-")[2]), one) for one in self._told]
        self._told.clear()
        try:
            self.ruling = self._store.fold(
                job, self._task.name, self._bundle, numbered, self._reopen
            )
        except StoreAway as away:
            raise BadSettings(
                f"{away}; what was answered is kept: run the same command again"
            ) from None
        return self.ruling
