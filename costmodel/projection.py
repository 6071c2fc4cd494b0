"""What a month will cost, in closed form, from an evaluation's own counts.

Per request, relative to teacher-only, r = s + e + a·(1 − e) + t/N: every request pays the student,
an escalated one pays the teacher as well, audits ask the teacher about a share `a` of the kept
ones, labelling and training `t` are spread over N requests. Intervals come from the exact binomial
interval of the escalation rate e. A month has 730 hours. Savings are signed and never hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict

from costmodel.errors import BadProjection
from costmodel.intervals import binomial_interval
from costmodel.pricebook import mean_cost
from costmodel.pricing import HOURS_PER_MONTH, Price, TokenUsage, now
from costmodel.rails import (
    Fleet,
    Line,
    Rail,
    RailName,
    StudentBill,
    Usd,
    rail,
    student_bill,
)
from costmodel.rates import ApiPrice

MIN_CACHED_PREFIX = 1024
"""Tokens a prompt's fixed beginning must have before providers cache it (OpenAI's rule)."""


BASELINES = {
    "teacher_list": "teacher, price given",
    "teacher_best_terms": "teacher, best known terms",
    "decision_api": "cheap decision API",
}
"""What the cascade is compared with, and what people call it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What an evaluation counted on its test rows: escalated ones, and kept ones that disagree."""

    n: int
    escalated: int
    disagreements: int = 0

    def __post_init__(self) -> None:
        fine = self.n >= 1 and 0 <= self.escalated <= self.n
        if not fine or not 0 <= self.disagreements <= self.n - self.escalated:
            raise BadProjection(
                f"{self.escalated} escalated and {self.disagreements} disagreements among kept in "
                f"{self.n} rows cannot be; 0 ≤ escalated ≤ n and disagreements ≤ n − escalated"
            )


@dataclass(frozen=True, slots=True)
class TeacherUsage:
    """Tokens the teacher used on a sample of requests, and on those of them that escalate.

    Hard requests are often long: without `escalated`, they are taken to be like all others.
    `fixed_input_tokens` is the part of each prompt that never changes and could be cached.
    """

    all: TokenUsage
    escalated: TokenUsage | None = None
    fixed_input_tokens: int = 0

    def __post_init__(self) -> None:
        if self.all.requests < 1:
            raise BadProjection("the teacher's usage is of 0 requests; at least 1 is needed")
        if self.escalated is not None and self.escalated.requests < 1:
            raise BadProjection("the usage of escalated requests is of 0 requests; leave it out")


@dataclass(frozen=True, slots=True)
class Prices:
    """Who is paid how. `decision_api` is the cheapest model that might do the job."""

    teacher: Price
    student: Price
    decision_api: Price | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in the product's month of 730 hours."""

    requests_per_month: Decimal

    def __post_init__(self) -> None:
        if not (self.requests_per_month.is_finite() and self.requests_per_month > 0):
            raise BadProjection(
                f"{self.requests_per_month} requests a month; a number above 0 is needed"
            )

    @classmethod
    def per_day(cls, requests: float | Decimal) -> Self:
        """From requests a day (24 hours)."""
        return cls(Decimal(str(requests)) * HOURS_PER_MONTH / 24)

    @property
    def requests_per_day(self) -> Decimal:
        """Requests in 24 hours."""
        return self.requests_per_month * 24 / HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class OneOff:
    """Paid once, before the first saving."""

    labelling_usd: Decimal = Decimal(0)
    training_usd: Decimal = Decimal(0)
    other_usd: Decimal = Decimal(0)

    @property
    def usd(self) -> Decimal:
        """All of it."""
        return self.labelling_usd + self.training_usd + self.other_usd


@dataclass(frozen=True, slots=True)
class Operation:
    """How the cascade is run: audits, retries, and what recurs every month."""

    audit_rate: float = 0.01
    """Share of kept answers also asked of the teacher."""
    attempts: float = 1.0
    """Billed teacher calls per escalation; above 1 when calls are retried."""
    monthly_usd: Decimal = Decimal(0)
    """Retraining, fresh labels, monitoring."""

    def __post_init__(self) -> None:
        if not 0 <= self.audit_rate <= 1:
            raise BadProjection(f"audit_rate is {self.audit_rate}; it must be in [0, 1]")
        if not self.attempts >= 1:
            raise BadProjection(f"attempts is {self.attempts}; every escalation is asked once")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Band(_Part):
    """A share or ratio with its 95 % interval."""

    low: float
    mid: float
    high: float


class UsdBand(_Part):
    """An amount with its 95 % interval; `low` is the worse end."""

    low: Usd
    mid: Usd
    high: Usd


class Baseline(_Part):
    """What the cascade is compared with. The choice of it IS the result: so there are several."""

    name: str
    usd_per_month: Usd
    saving: UsdBand
    saving_share: Band
    """Saving relative to this baseline; negative when the cascade costs more."""
    words: str


class Months(_Part):
    """Months until the one-off cost is earned back; `late` is None when the worse end never is."""

    early: float
    mid: float
    late: float | None


class BreakEven(_Part):
    """When the one-off cost is earned back, and when that never happens."""

    one_off_usd: Usd
    months: Months | None
    """None: at this traffic the cascade saves nothing."""
    requests: float | None
    """Requests answered until then."""
    date: str | None
    minimum_requests_per_day: float | None
    """Below this traffic the machines cost more than the teacher calls they replace."""
    escalation_rate: float | None
    """At this escalation rate the saving is 0; above 1 it always pays, below 0 it never does.
    None: an escalation costs nothing, so no rate changes the answer."""


class Projection(_Part):
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
    unit, words = _unit_costs(counts, usage, prices, starts)
    requests = traffic.requests_per_month
    student = student_bill(prices.student, unit.student, requests, fleet)
    month = _Month(requests, unit, student, operation)
    rate = counts.escalated / counts.n
    low_rate, high_rate = binomial_interval(counts.escalated, counts.n)
    bill = UsdBand(low=month.usd(low_rate), mid=month.usd(rate), high=month.usd(high_rate))
    options = _alternatives(prices, usage, starts, words)
    baselines = tuple(
        _baseline(name, each * requests, how, bill) for name, (each, how) in options.items()
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
        escalated_cost_factor=_share(unit.escalated, unit.teacher),
        student=student,
        rails=month.rails(rate, baselines),
        cost_ratio=Band(
            low=_share(bill.low, month.teacher_usd),
            mid=_share(bill.mid, month.teacher_usd),
            high=_share(bill.high, month.teacher_usd),
        ),
        cost_ratio_with_one_off=_share(bill.mid + one_off.usd / 12, month.teacher_usd),
        savings=baselines[0].saving,
        baselines=baselines,
        break_even=month.break_even(rate, baselines[0].saving, one_off.usd, starts),
        unit_prices=words,
    )


@dataclass(frozen=True, slots=True)
class _Unit:
    """US dollars per request."""

    teacher: Decimal
    escalated: Decimal
    kept: Decimal
    student: Decimal


@dataclass(frozen=True, slots=True)
class _Month:
    """The cascade's month as a function of the escalation rate."""

    requests: Decimal
    unit: _Unit
    student: StudentBill
    operation: Operation

    @property
    def teacher_usd(self) -> Decimal:
        return self.requests * self.unit.teacher

    def usd(self, rate: float) -> Decimal:
        return sum((line.usd for line in self.lines(rate)), Decimal(0))

    def lines(self, rate: float) -> tuple[Line, ...]:
        e, asked = _decimal(rate), self.requests * _decimal(rate) * self.unit.escalated
        audited = self.requests * _decimal(self.operation.audit_rate) * (1 - e) * self.unit.kept
        retried = asked * (_decimal(self.operation.attempts) - 1)
        lines = [
            *self.student.lines,
            Line(name="teacher, escalations", usd=asked, detail=f"{rate:.2%} of requests"),
            Line(
                name="teacher, audits",
                usd=audited,
                detail=f"{self.operation.audit_rate:.2%} of kept answers",
            ),
        ]
        if retried:
            how = f"{self.operation.attempts:g} billed calls per escalation"
            lines.append(Line(name="teacher, retried and cancelled", usd=retried, detail=how))
        if self.operation.monthly_usd:
            lines.append(Line(name="retraining, monitoring", usd=self.operation.monthly_usd))
        return tuple(lines)

    def rails(self, rate: float, baselines: tuple[Baseline, ...]) -> tuple[Rail, ...]:
        bills: dict[RailName, tuple[Line, ...]] = {
            "teacher_only": (Line(name="teacher, every request", usd=self.teacher_usd),),
            "student_only": self.student.lines,
            "cascade": self.lines(rate),
        }
        for baseline in baselines:
            if baseline.name == "decision_api":
                line = Line(name="decision API, every request", usd=baseline.usd_per_month)
                bills["decision_api"] = (line,)
        return tuple(
            rail(name, lines, self.requests, self.teacher_usd) for name, lines in bills.items()
        )

    def break_even(
        self, rate: float, saving: UsdBand, one_off: Decimal, starts: datetime
    ) -> BreakEven:
        e, a = _decimal(rate), _decimal(self.operation.audit_rate)
        asked = self.unit.escalated * _decimal(self.operation.attempts)
        rented = bool(self.student.machines)
        own = Decimal(0) if rented else self.unit.student
        fixed = self.operation.monthly_usd + (self.student.provisioned_usd if rented else 0)
        # The saving of one request, machines apart, is top − e · slope.
        top = self.unit.teacher - own - a * self.unit.kept
        slope = asked - a * self.unit.kept
        margin = top - e * slope
        months = date = None
        if saving.mid > 0:
            months = Months(
                early=float(one_off / saving.high),
                mid=float(one_off / saving.mid),
                late=float(one_off / saving.low) if saving.low > 0 else None,
            )
            reached = starts + timedelta(hours=HOURS_PER_MONTH * min(months.mid, 10_000))
            date = reached.date().isoformat()
        daily = float(fixed / margin) * 24 / HOURS_PER_MONTH if margin > 0 else None
        limit = float((top - fixed / self.requests) / slope) if slope > 0 else None
        return BreakEven(
            one_off_usd=one_off,
            months=months,
            requests=months.mid * float(self.requests) if months else None,
            date=date,
            minimum_requests_per_day=daily,
            escalation_rate=limit,
        )


def _unit_costs(
    counts: Counts, usage: TeacherUsage, prices: Prices, starts: datetime
) -> tuple[_Unit, dict[str, str]]:
    teacher = mean_cost(prices.teacher, usage.all, starts)
    student = mean_cost(prices.student, usage.all, starts)
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
    words = {"teacher": teacher.price, "student": student.price}
    return _Unit(each, escalated, kept, student.usd / usage.all.requests), words


def _alternatives(
    prices: Prices, usage: TeacherUsage, starts: datetime, words: dict[str, str]
) -> dict[str, tuple[Decimal, str]]:
    """What else one could do with every request: name → dollars per request, how."""
    listed = mean_cost(prices.teacher, usage.all, starts).usd / usage.all.requests
    unknown = "no cheaper terms of this teacher are known (batch, cached prompt)"
    found = {
        "teacher_list": (listed, words["teacher"]),
        "teacher_best_terms": _best_terms(prices.teacher, usage, starts) or (listed, unknown),
    }
    if prices.decision_api is not None:
        cost = mean_cost(prices.decision_api, usage.all, starts)
        words["decision_api"] = cost.price
        how = f"{cost.price}; adequate only if it passes your own evaluation"
        found["decision_api"] = (cost.usd / usage.all.requests, how)
    return found


def _best_terms(price: Price, usage: TeacherUsage, starts: datetime) -> tuple[Decimal, str] | None:
    """The cheapest known way to ask the same teacher everything: dollars per request, how."""
    if not isinstance(price, ApiPrice):
        return None
    asked, options = usage.all, []
    if usage.fixed_input_tokens >= MIN_CACHED_PREFIX:
        cached = min(usage.fixed_input_tokens * asked.requests, asked.input_tokens)
        asked = TokenUsage(asked.input_tokens, asked.output_tokens, cached, asked.requests)
        cost = mean_cost(price, asked, starts)
        options.append((cost.usd, f"{cost.price}; the fixed prompt always read from the cache"))
    batch = price.batch()
    if batch is not None:
        cost = mean_cost(batch, asked, starts)
        options.append((cost.usd, f"{cost.price}; answers may take hours"))
    if not options:
        return None
    usd, how = min(options)
    return usd / asked.requests, how


def _baseline(name: str, usd: Decimal, words: str, bill: UsdBand) -> Baseline:
    saving = UsdBand(low=usd - bill.high, mid=usd - bill.mid, high=usd - bill.low)
    share = Band(
        low=_share(saving.low, usd), mid=_share(saving.mid, usd), high=_share(saving.high, usd)
    )
    return Baseline(name=name, usd_per_month=usd, saving=saving, saving_share=share, words=words)


def _share(part: Decimal, whole: Decimal) -> float:
    return float(part / whole) if whole else 0.0


def _decimal(share: float) -> Decimal:
    return Decimal(repr(share))
