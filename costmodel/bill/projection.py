"""What a month will cost, in closed form, from an evaluation's own counts.

Per request, relative to teacher-only, r = s + e + a·(1 − e) + t/N: every request pays the student,
an escalated one pays the teacher as well, audits ask the teacher about a share `a` of the kept
ones, labelling and training `t` are spread over N requests. Intervals come from the exact binomial
interval of the escalation rate e. A month has 730 hours. Savings are signed and never hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from costmodel.bill.baselines import (
    Band,
    Baseline,
    BreakEven,
    UsdBand,
    alternatives,
    compare,
    share,
)
from costmodel.bill.month import Month, unit_costs
from costmodel.bill.rails import Fleet, Rail, StudentBill, student_bill
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.money.pricing import HOURS_PER_MONTH, now
from costmodel.uncertainty.intervals import binomial_interval


class Projection(BaseModel):
    """Every figure of the money page, with what it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    starts: str
    month_hours: int = HOURS_PER_MONTH
    requests_per_month: float
    requests_per_day: float
    n: int
    escalation: Band
    agreement: Band
    kept_agreement: float | None
    audit_rate: float
    attempts: float
    cost_of_wrong_answer: float
    """US dollars; 0: nobody said."""
    escalated_cost_factor: float
    """Teacher cost of an escalated request relative to the mean request."""
    student: StudentBill
    rails: tuple[Rail, ...]
    cost_ratio: Band
    """Cascade bill over teacher-only bill, one-off cost left out; `low` is the cheap end."""
    cost_ratio_with_one_off: float
    """The same with labelling and training spread over the first 12 months."""
    savings: UsdBand
    """Per month, against teacher-only at the price given."""
    baselines: tuple[Baseline, ...]
    break_even: BreakEven
    unit_prices: Mapping[str, str]

    def rail(self, name: str) -> Rail:
        """The rail of that name."""
        return next(rail for rail in self.rails if rail.name == name)


def project(
    counts: Counts,
    usage: TeacherUsage,
    prices: Prices,
    traffic: Traffic,
    *,
    fleet: Fleet | None = None,
    one_off: OneOff | None = None,
    operation: Operation | None = None,
    starts: datetime | None = None,
) -> Projection:
    """Project the month that begins at `starts` (now if not given).

    Raises:
        UnknownPrice: a price does not cover this kind of usage at that time.
        BadProjection: the counts, the traffic or the operation cannot be.
    """
    fleet, one_off, operation = fleet or Fleet(), one_off or OneOff(), operation or Operation()
    starts = starts or now()
    unit, words = unit_costs(counts, usage, prices, starts)
    requests = traffic.requests_per_month
    student = student_bill(prices.student, unit.student, requests, fleet)
    month = Month(requests, unit, student, operation)
    rate = counts.escalated / counts.n
    low_rate, high_rate = binomial_interval(counts.escalated, counts.n)
    bill = UsdBand(low=month.usd(low_rate), mid=month.usd(rate), high=month.usd(high_rate))
    options = alternatives(prices, usage, starts, words)
    baselines = tuple(
        compare(name, each * requests, how, bill) for name, (each, how) in options.items()
    )
    wrong_low, wrong_high = binomial_interval(counts.disagreements, counts.n)
    kept = counts.n - counts.escalated
    return Projection(
        starts=starts.date().isoformat(),
        requests_per_month=float(requests),
        requests_per_day=float(traffic.requests_per_day),
        n=counts.n,
        escalation=Band(low=low_rate, mid=rate, high=high_rate),
        agreement=Band(
            low=1 - wrong_high, mid=1 - counts.disagreements / counts.n, high=1 - wrong_low
        ),
        kept_agreement=1 - counts.disagreements / kept if kept else None,
        audit_rate=operation.audit_rate,
        attempts=operation.attempts,
        cost_of_wrong_answer=float(operation.failures.wrong_usd),
        escalated_cost_factor=share(unit.escalated, unit.teacher),
        student=student,
        rails=month.rails(rate, baselines),
        cost_ratio=Band(
            low=share(bill.low, month.teacher_usd),
            mid=share(bill.mid, month.teacher_usd),
            high=share(bill.high, month.teacher_usd),
        ),
        cost_ratio_with_one_off=share(bill.mid + one_off.usd / 12, month.teacher_usd),
        savings=baselines[0].saving,
        baselines=baselines,
        break_even=month.break_even(rate, baselines[0].saving, one_off, starts),
        unit_prices=words,
    )
