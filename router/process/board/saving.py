"""What was saved, for the page: read when it is old, the longer a reading takes the more seldom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from router.insight.periods import periods, projected
from students.task import Task

EVERY_S = 10.0
REST = 20.0
"""Times as long as a reading took none is made: a twentieth of a core."""


@dataclass(frozen=True, slots=True)
class SavedSoFar:
    """This month's savings of one task in dollars; None where audits say too little."""

    at: float
    """Unix seconds of the reading."""
    saved: Decimal | None
    low: Decimal | None
    high: Decimal | None
    counterfactual: Decimal | None
    """What the same requests would have cost at the teacher."""
    audits: int
    today: Decimal | None
    projected: tuple[Decimal, Decimal, Decimal] | None
    """Of the whole month at this pace: saved, low, high; None before its second day."""


class SavingReader:
    """Reads the savings of one ledger now and then.

    Args:
        source: the ledger, a file or the address of the database.
        every_s: at least so long between two readings.
    """

    def __init__(self, source: str | Path, every_s: float = EVERY_S) -> None:
        self._source = source
        self._every_s = every_s
        self._due = 0.0
        self._found: dict[str, SavedSoFar] = {}

    def read(self, tasks: tuple[Task, ...]) -> dict[str, SavedSoFar]:
        """Return the last reading, or a new one where that is old; blocking.

        Raises:
            BadLedger, BadDatabase: it cannot be read.
        """
        started = time.monotonic()
        if started >= self._due:
            self._found = {task.name: self._of(task) for task in tasks}
            took = time.monotonic() - started
            self._due = time.monotonic() + max(self._every_s, REST * took)
        return self._found

    def _of(self, task: Task) -> SavedSoFar:
        now = time.time()
        found = periods(self._source, task, now)
        month = found["month"]
        low, high = month.interval or (None, None)
        return SavedSoFar(
            at=now,
            saved=month.saved if month.requests else None,
            low=low,
            high=high,
            counterfactual=month.counterfactual,
            audits=month.audits,
            today=found["today"].saved,
            projected=projected(month),
        )
