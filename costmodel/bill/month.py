"""The cascade's month as a function of the escalation rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from costmodel.bill.baselines import Baseline, BreakEven, Months, UsdBand
from costmodel.bill.rails import (
    Line,
    Rail,
    RailName,
    StudentBill,
    failure_lines,
    lines_alone,
    rail,
)
from costmodel.errors import BadProjection
from costmodel.inputs.assumptions import Counts, OneOff, Operation, Prices, TeacherUsage
from costmodel.money.pricebook import mean_cost
from costmodel.money.pricing import HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class Unit:
    """US dollars per request."""

    teacher: Decimal
    escalated: Decimal
    kept: Decimal
    student: Decimal


@dataclass(frozen=True, slots=True)
class Month:
    """The cascade's month as a function of the escalation rate."""

    requests: Decimal
    unit: Unit
    student: StudentBill
    operation: Operation

    @property
    def teacher_usd(self) -> Decimal:
        """US dollars of asking the teacher everything."""
        return self.requests * self.unit.teacher

    def usd(self, rate: float) -> Decimal:
        """US dollars of the cascade's month."""
        return sum((line.usd for line in self.lines(rate)), Decimal(0))

    def lines(self, rate: float) -> tuple[Line, ...]:
        """The cascade's bill, line by line."""
        lines = [*self.student.lines, *self._teacher_lines(rate)]
        if self.operation.monthly_usd:
            lines.append(Line(name="retraining, monitoring", usd=self.operation.monthly_usd))
        return (*lines, *failure_lines(self.operation.failures, self.requests))

    def _teacher_lines(self, rate: float) -> list[Line]:
        rented = self.operation.teacher_machines_usd
        if rented is not None:
            return [Line(name="teacher machines", usd=rented)]
        e, asked = _decimal(rate), self.requests * _decimal(rate) * self.unit.escalated
        audited = self.requests * _decimal(self.operation.audit_rate) * (1 - e) * self.unit.kept
        retried = asked * (_decimal(self.operation.attempts) - 1)
        lines = [
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
        return lines

    def rails(self, rate: float, baselines: tuple[Baseline, ...]) -> tuple[Rail, ...]:
        """Every way to get the answers, side by side."""
        bills: dict[RailName, tuple[Line, ...]] = {
            "teacher_only": (Line(name="teacher, every request", usd=self.teacher_usd),),
            "student_only": lines_alone(self.student, self.operation.failures, self.requests),
            "cascade": self.lines(rate),
        }
        for baseline in baselines:
            if baseline.name == "decision_api":
                line = Line(name="decision API, every request", usd=baseline.usd_per_month)
                bills["decision_api"] = (line,)
        return tuple(
            rail(name, lines, self.requests, self.teacher_usd) for name, lines in bills.items()
        )

    def break_even(self, rate: float, saving: UsdBand, once: OneOff, starts: datetime) -> BreakEven:
        """When what was paid once is earned back, and where the saving vanishes."""
        one_off = once.usd
        e, a = _decimal(rate), _decimal(self.operation.audit_rate)
        asked, kept = self.unit.escalated * _decimal(self.operation.attempts), self.unit.kept
        rented = bool(self.student.machines)
        own = Decimal(0) if rented else self.unit.student
        fixed = self.operation.monthly_usd + (self.student.provisioned_usd if rented else 0)
        if self.operation.teacher_machines_usd is not None:
            asked = kept = Decimal(0)
            fixed += self.operation.teacher_machines_usd
        # The saving of one request, machines apart, is top − e · slope.
        top = self.unit.teacher - own - a * kept - self.operation.failures.usd_per_request
        slope = asked - a * kept
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
            counted=tuple(name for name, usd in once.parts.items() if usd),
            not_counted=tuple(name for name, usd in once.parts.items() if not usd),
            months=months,
            requests=months.mid * float(self.requests) if months else None,
            date=date,
            minimum_requests_per_day=daily,
            escalation_rate=limit,
        )


def unit_costs(
    counts: Counts, usage: TeacherUsage, prices: Prices, starts: datetime
) -> tuple[Unit, dict[str, str]]:
    """Price one request of each kind, and say the unit prices in words.

    Raises:
        BadProjection: the teacher costs nothing.
    """
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
    return Unit(each, escalated, kept, student.usd / usage.all.requests), words


def _decimal(share: float) -> Decimal:
    return Decimal(repr(share))
