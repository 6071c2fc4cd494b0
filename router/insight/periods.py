"""Savings of the stretches that people ask about: today, this month, the month at this pace."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.money.pricing import MachinePrice
from costmodel.units import DAY_S
from router.insight.savings import Savings, read_savings
from router.ledger.view import open_view

if TYPE_CHECKING:
    from students.task import Task


def periods(source: str | Path, task: Task, now: float) -> dict[str, Savings]:
    """Return the savings of today and of the month to date (UTC).

    Raises:
        BadLedger: there is no ledger.
        BadDatabase: the database cannot be used.
    """
    rent = _rent(task)
    moment = datetime.fromtimestamp(now, UTC)
    month = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    with open_view(source) as ledger:
        month = max(month, ledger.folded_until)
    return {
        name: read_savings(source, task.name, start, now, rent_usd_per_hour=rent)
        for name, start in (("today", now // DAY_S * DAY_S), ("month", month))
    }


def projected(month: Savings) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return saved, low and high of the whole month, if the rest is like what there is of it.

    None from less than a day of requests: nobody's month is like its first hour.
    """
    if month.first is None or month.saved is None or month.interval is None:
        return None
    elapsed = month.end - month.first
    if elapsed < DAY_S:
        return None
    moment = datetime.fromtimestamp(month.end, UTC)
    begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    days = calendar.monthrange(moment.year, moment.month)[1]
    times = Decimal(1 + (begin + days * DAY_S - month.end) / elapsed)
    low, high = month.interval
    return month.saved * times, low * times, high * times


def _rent(task: Task) -> Decimal:
    from costmodel.money.pricebook import price_of

    price = price_of(task.student.price)
    if not isinstance(price, MachinePrice):
        return Decimal(0)
    return price.usd_per_hour * task.student.min_machines
