"""Which budgets a router shares with all others, and who in it spends of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from costmodel.units import DAY_S
from router.errors import BadSettings
from router.keys.day_budget import DayBudget, LeasedDay, budget_name, end_of_day
from router.ledger.read import read_spending
from router.promise.audit import Auditor
from router.shared.bucket import LeasedBucket
from router.shared.leases import PICO, SharedBudget
from router.shared.purser import Purser
from router.shared.store import Store
from router.teacher.budget import BURST_S, EscalationBudget
from students.task import Task


def open_purser(store: Store, ledger: Path) -> Purser:
    """Take a seat beside the ledger.

    Raises:
        BadSettings: its folder cannot be written.
    """
    try:
        return Purser(store, ledger.parent)
    except OSError as error:
        raise BadSettings(
            f"what is spent cannot be counted in {ledger.parent}: {error.strerror}; give --ledger "
            "a path on a writable local disk"
        ) from None


def budget_of(task: Task, purser: Purser) -> EscalationBudget | None:
    """Return what may be spent at the task's teacher; None where there is no limit."""
    usd, calls = task.teacher.max_usd_per_hour, task.teacher.max_requests_per_second
    if usd is None and calls is None:
        return None
    dollars = None if usd is None else _by_the_hour(f"teacher/{task.name}", usd, purser)
    return EscalationBudget(usd=dollars, per_second=calls)


def auditor_of(task: Task, purser: Purser) -> Auditor | None:
    """Return who audits the task's answers, within a budget of audits alone; None: nobody."""
    if task.audit_rate == 0:
        return None
    usd = task.audit_usd_per_hour
    return Auditor(
        task.audit_rate,
        max_in_flight=max(1, task.teacher.max_concurrency // 4),
        budget=None
        if usd is None
        else EscalationBudget(usd=_by_the_hour(f"audits/{task.name}", usd, purser)),
    )


class DaysOfKeys:
    """What each key has spent of its day, by all workers of all hosts.

    A host that has not leased today (its ledger is older than its leases) says once what it knows.
    """

    def __init__(self, purser: Purser, ledger: Path, now: float) -> None:
        self._purser = purser
        ends, on_seats = end_of_day(now), purser.spent_on_host()
        self._begun = {
            key: max(0, round(usd * PICO) - on_seats(budget_name(key, ends)))
            for key, usd in read_spending(ledger, ends - DAY_S).items()
        }

    def __call__(self, key: str) -> DayBudget:
        """Return the day of a key."""
        return LeasedDay(key, self._purser, self._begun.get(key, 0))


def _by_the_hour(name: str, usd: Decimal, purser: Purser) -> LeasedBucket:
    per_s = float(usd) * PICO / 3600.0
    return LeasedBucket(purser.open(SharedBudget(name, round(per_s * BURST_S), per_s)))
