"""What was projected beside what the ledger says was paid, line by line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from costmodel.bill.projection import Projection
from costmodel.errors import BadProjection
from costmodel.inputs.ledger.database import OTHERS, is_database, read_paid
from costmodel.inputs.ledger.traffic import TrafficLog
from costmodel.money.pricing import MONTH_S

PICO = 1e12
"""The ledger counts money in whole millionths of a millionth of a dollar."""
_PAID = f"""
select coalesce(sum(case when route != 'student' then teacher_pusd end), 0),
       coalesce(sum(case when route = 'student' then teacher_pusd end), 0),
       coalesce(sum(student_pusd), 0),
       sum(attempts > 0 and teacher_pusd is null)
from entries
where reason not in {OTHERS} and surface <> 'batch'
  and (:task is null or task = :task)
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One line or driver: what was projected for the ledger's time, what the ledger has."""

    what: str
    forecast: float
    actual: float
    unit: str
    """`usd`, `share` or `count`."""

    @property
    def off(self) -> float | None:
        """Actual over forecast less 1; None where nothing was forecast."""
        return self.actual / self.forecast - 1 if self.forecast else None


@dataclass(frozen=True, slots=True)
class Actual:
    """What the ledger says was paid, US dollars."""

    escalations: float
    audits: float
    student: float
    unpriced: int
    """Calls whose price nobody knew: they are in no sum."""


def read_actual(ledger: Path | str, task: str | None = None) -> Actual:
    """Add up what a ledger, a file or a database, says was paid: for one task, or for all.

    Raises:
        BadProjection: it is no ledger.
    """
    if is_database(ledger):
        asked, audits, student, unpriced = read_paid(str(ledger), task)
    else:
        try:
            with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
                asked, audits, student, unpriced = connection.execute(
                    _PAID, {"task": task}
                ).fetchone()
        except sqlite3.Error as error:
            raise BadProjection(f"{ledger} is not a router's ledger: {error}") from None
    return Actual(asked / PICO, audits / PICO, student / PICO, int(unpriced or 0))


def against_ledger(projection: Projection, log: TrafficLog, paid: Actual) -> tuple[Compared, ...]:
    """Compare a projection made before with the ledger's own time.

    What traffic pays for is scaled to the ledger's requests and machines to its seconds, so that
    more or less traffic than expected stands in its own row and moves no other.
    """
    traffic = log.requests / projection.requests_per_month
    time = log.seconds / MONTH_S
    lines = {line.name: float(line.usd) for line in projection.rail("cascade").lines}
    machines = projection.asked_machines is not None

    def teacher(name: str) -> float:
        return lines.get(name, 0.0) * traffic

    asked = teacher("teacher, escalations") + teacher("teacher, retried and cancelled")
    audits = teacher("teacher, audits")
    if machines:
        asked = sum(usd for name, usd in lines.items() if name.startswith("teacher")) * time
    expected = projection.escalation.mid
    rows = [
        Compared("requests", projection.requests_per_month * time, log.requests, "count"),
        Compared("escalated and asked", expected, log.escalated / log.requests, "share"),
        Compared(
            "audited, of kept answers",
            projection.audit_rate,
            log.audited / max(log.requests - log.escalated, 1),
            "share",
        ),
        Compared(
            "billed calls per escalation",
            projection.attempts,
            log.escalated_calls / max(log.escalated, 1),
            "count",
        ),
        Compared("teacher, escalations", asked, paid.escalations, "usd"),
        Compared("teacher, audits", audits, paid.audits, "usd"),
        Compared(
            "student, busy share", float(projection.student.marginal_usd) * traffic, paid.student,
            "usd",
        ),
    ]  # fmt: skip
    forecast, actual = sum(row.forecast for row in rows[4:]), sum(row.actual for row in rows[4:])
    return (*rows, Compared("all that the ledger counts", forecast, actual, "usd"))
