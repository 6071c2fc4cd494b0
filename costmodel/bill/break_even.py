"""When what was paid once is earned back, and where the saving vanishes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from costmodel.bill.baselines import UsdBand
from costmodel.bill.line import Usd
from costmodel.bill.month import Month
from costmodel.bill.rails import total
from costmodel.frozen import Frozen
from costmodel.inputs.assumptions import OneOff
from costmodel.money.pricing import HOURS_PER_MONTH


class Months(Frozen):
    """Months until the one-off cost is earned back; `late` is None when the worse end never is."""

    early: float
    mid: float
    late: float | None


class BreakEven(Frozen):
    """When the one-off cost is earned back, and when that never happens."""

    one_off_usd: Usd
    counted: tuple[str, ...]
    """What the one-off cost consists of."""
    not_counted: tuple[str, ...]
    """What people pay once and nobody stated."""
    months: Months | None
    """None: at this traffic the cascade saves nothing."""
    requests: float | None
    """Requests answered until then."""
    date: str | None
    minimum_requests_per_day: float | None
    """Below this traffic the machines cost more than the teacher calls they replace."""
    escalation_rate: float | None
    """At this escalation rate the saving is 0; above 1 it always pays, below 0 it never does.
    None: no rate changes the answer."""


def break_even(
    month: Month, rate: float, saving: UsdBand, once: OneOff, starts: datetime
) -> BreakEven:
    """When `once` is earned back at this escalation rate, and what would take the saving away."""
    one_off, months, date = once.usd, None, None
    if saving.mid > 0:
        months = Months(
            early=float(one_off / saving.high),
            mid=float(one_off / saving.mid),
            late=float(one_off / saving.low) if saving.low > 0 else None,
        )
        reached = starts + timedelta(hours=HOURS_PER_MONTH * min(months.mid, 10_000))
        date = reached.date().isoformat()
    daily, limit = _limits(month, rate) if month.teacher is None else _stepwise(month, rate)
    return BreakEven(
        one_off_usd=one_off,
        counted=tuple(name for name, usd in once.parts.items() if usd),
        not_counted=tuple(name for name, usd in once.parts.items() if not usd),
        months=months,
        requests=months.mid * float(month.requests) if months else None,
        date=date,
        minimum_requests_per_day=daily,
        escalation_rate=limit,
    )


def _limits(month: Month, rate: float) -> tuple[float | None, float | None]:
    """Least traffic and highest escalation rate where every teacher call is paid by itself."""
    operation, student = month.operation, month.student
    e, a = Decimal(repr(rate)), Decimal(repr(operation.audit_rate))
    asked, kept = month.unit.escalated * Decimal(repr(operation.attempts)), month.unit.kept
    hourly = bool(student.machines)
    own = Decimal(0) if hourly else student.marginal_usd / month.requests
    fixed = operation.monthly_usd + (student.provisioned_usd if hourly else 0)
    # The saving of one request, machines apart, is top − e · slope.
    top = month.unit.teacher - own - a * kept - operation.failures.usd_per_request
    slope = asked - a * kept
    margin = top - e * slope
    daily = float(fixed / margin) * 24 / HOURS_PER_MONTH if margin > 0 else None
    limit = float((top - fixed / month.requests) / slope) if slope > 0 else None
    return daily, limit


def _stepwise(month: Month, rate: float) -> tuple[float | None, float | None]:
    """The same where the teacher is whole machines: both bills are stairs, which are searched."""

    def by_traffic(daily: float) -> float:
        return float(_saving(month, Decimal(repr(daily * HOURS_PER_MONTH / 24)), rate))

    def by_rate(escalated: float) -> float:
        return float(_saving(month, month.requests, escalated))

    steps = np.geomspace(1.0, 1e12, 2_001).tolist()
    paying = next((k for k, daily in enumerate(steps) if by_traffic(daily) > 0), None)
    least = None
    if paying is not None:
        low = steps[paying - 1] if paying else 0.0
        least = _crossing(lambda x: by_traffic(x) > 0, low, steps[paying])
    limit = None
    if by_rate(0.0) > 0 >= by_rate(1.0):
        limit = _crossing(lambda x: by_rate(x) <= 0, 0.0, 1.0)
    return least, limit


def _saving(month: Month, requests: Decimal, rate: float) -> Decimal:
    """What the month would save with another traffic, its machines sized anew."""
    own, student = month.teacher, month.student
    assert own is not None, "only asked where the teacher is machines"
    if student.machines:
        paid = Decimal(repr(float(student.usd_for(float(requests)))))
    else:
        paid = student.provisioned_usd / month.requests * requests
    asked = own.asked(requests, rate, month.operation).provisioned_usd
    other = month.operation.monthly_usd + month.operation.failures.usd_per_request * requests
    return total(own.everything(requests).lines) - paid - asked - other


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a statement that is false at `low` and true at `high` becomes true."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
