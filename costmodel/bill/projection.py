"""What a month will cost, in closed form, from an evaluation's own counts.

Per request, relative to teacher-only, r = s + e + a·(1 − e) + t/N: every request pays the student,
an escalated one pays the teacher as well, audits ask the teacher about a share `a` of the kept
ones, labelling and training `t` are spread over N requests. Intervals come from the exact binomial
interval of the escalation rate e. A month has 730 hours. Savings are signed and never hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from costmodel.bill.baselines import (
    Band,
    Baseline,
    UsdBand,
    compare,
    every_request,
    other_terms,
    share,
)
from costmodel.bill.break_even import BreakEven, break_even
from costmodel.bill.machines import Fleet, MachineBill, TeacherFleet, by_request, rented
from costmodel.bill.month import Month, OwnTeacher, Unit
from costmodel.bill.rails import Rail
from costmodel.errors import BadProjection
from costmodel.frozen import Frozen
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage, Traffic
from costmodel.intervals import binomial_interval
from costmodel.money.pricebook import mean_cost, processed
from costmodel.money.pricing import HOURS_PER_MONTH, MONTH_S, MachinePrice, now


class Projection(Frozen):
    """Every figure of the money page, with what it rests on."""

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
    audit_cost_factor: float
    """Price of an audit over that of the same call at the price given: deferred ones cost less."""
    cost_of_wrong_answer: float
    """US dollars; 0: nobody said."""
    escalated_cost_factor: float
    """Teacher cost of an escalated request relative to the mean request."""
    student: MachineBill
    teacher_machines: MachineBill | None
    """Of a teacher rented by the hour that answers everything; None: it is paid by the request."""
    asked_machines: MachineBill | None
    """The same for escalations and audits."""
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
    warnings: tuple[str, ...] = ()
    """What is odd about the inputs, one sentence each."""

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
    teacher_fleet: TeacherFleet | None = None,
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
    requests = traffic.requests_per_month
    unit, words = _unit_costs(counts, usage, prices, operation, starts)
    if isinstance(prices.student, MachinePrice):
        student = rented("student", prices.student, requests, fleet)
        words["student"] = prices.student.words
    else:
        cost = mean_cost(prices.student, usage.all, starts)
        student = by_request("student", cost.usd / usage.all.requests * requests)
        words["student"] = cost.price
    teacher = None
    if isinstance(prices.teacher, MachinePrice):
        teacher_fleet = teacher_fleet or TeacherFleet()
        teacher = OwnTeacher(prices.teacher, teacher_fleet, usage.escalated_work)
    month = Month(requests, unit, student, operation, teacher)
    rate = counts.escalated / counts.n
    low_rate, high_rate = binomial_interval(counts.escalated, counts.n)
    bill = UsdBand(low=month.usd(low_rate), mid=month.usd(rate), high=month.usd(high_rate))
    baselines: tuple[Baseline, ...] = (
        compare("teacher_list", month.teacher_usd, words["teacher"], bill),
        _best_terms(month, bill, counts, usage, prices, (low_rate, rate, high_rate), starts),
    )
    if prices.decision_api is not None:
        others = Fleet(1, fleet.peak_to_mean, fleet.max_utilisation)
        usd, how = every_request(prices.decision_api, usage, requests, others, starts)
        words["decision_api"] = how
        how = f"{how}; adequate only if it passes your own evaluation"
        baselines = (*baselines, compare("decision_api", usd, how, bill))
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
        audit_cost_factor=_audit_factor(prices, usage, operation, starts),
        cost_of_wrong_answer=float(operation.failures.wrong_usd),
        escalated_cost_factor=(
            usage.escalated_work if teacher else share(unit.escalated, unit.teacher)
        ),
        student=student,
        teacher_machines=teacher.everything(requests) if teacher else None,
        asked_machines=teacher.asked(requests, rate, operation) if teacher else None,
        rails=month.rails(rate, baselines),
        cost_ratio=Band(
            low=share(bill.low, month.teacher_usd),
            mid=share(bill.mid, month.teacher_usd),
            high=share(bill.high, month.teacher_usd),
        ),
        cost_ratio_with_one_off=share(bill.mid + one_off.usd / 12, month.teacher_usd),
        savings=baselines[0].saving,
        baselines=baselines,
        break_even=break_even(month, rate, baselines[0].saving, one_off, starts),
        unit_prices=words,
    )


def _best_terms(
    month: Month,
    bill: UsdBand,
    counts: Counts,
    usage: TeacherUsage,
    prices: Prices,
    rates: tuple[float, float, float],
    starts: datetime,
) -> Baseline:
    """The cheapest known way to ask the same teacher everything; the cascade on the same terms."""
    per_s = float(month.requests) / MONTH_S
    asked = rates[1] * month.operation.attempts + month.operation.audit_rate * (1 - rates[1])
    best, how = month, "no cheaper terms of this teacher are known (batch, flex, cached prompt)"
    for terms in other_terms(prices.teacher, usage, per_s, per_s * asked):
        on = replace(prices, teacher=terms.price)
        unit, words = _unit_costs(counts, terms.usage, on, month.operation, starts)
        other = replace(month, unit=unit)
        if other.teacher_usd < best.teacher_usd:
            best, how = other, f"both sides: {words['teacher']}; {terms.words}"
    if best is not month:
        low, mid, high = (best.usd(rate) for rate in rates)
        bill = UsdBand(low=low, mid=mid, high=high)
    return compare("teacher_best_terms", best.teacher_usd, how, bill)


def _unit_costs(
    counts: Counts,
    usage: TeacherUsage,
    prices: Prices,
    operation: Operation,
    starts: datetime,
) -> tuple[Unit, dict[str, str]]:
    """Price one request of each kind, and say the teacher's unit price in words.

    Raises:
        BadProjection: the teacher costs nothing.
    """
    teacher = mean_cost(prices.teacher, usage.all, starts)
    each = escalated = teacher.usd / usage.all.requests
    if not each:
        raise BadProjection(
            "the teacher costs 0, so there is nothing to save; give the price you would pay"
        )
    if usage.escalated is not None:
        paid = mean_cost(prices.teacher, usage.escalated, starts)
        escalated = paid.usd / usage.escalated.requests
    # The mean over all requests is what it is: kept ones cost what the escalated ones leave.
    e = Decimal(counts.escalated) / counts.n
    kept = max((each - e * escalated) / (1 - e), Decimal(0)) if e < 1 else each
    kept *= Decimal(repr(_audit_factor(prices, usage, operation, starts)))
    return Unit(each, escalated, kept), {"teacher": teacher.price}


def _audit_factor(
    prices: Prices, usage: TeacherUsage, operation: Operation, starts: datetime
) -> float:
    if operation.audit_processing is None:
        return 1.0
    waiting = processed(prices.teacher, operation.audit_processing)
    listed = mean_cost(prices.teacher, usage.all, starts).usd
    return share(mean_cost(waiting, usage.all, starts).usd, listed)
