"""The cascade's month as a function of the escalation rate."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from costmodel.bill.baselines import Baseline
from costmodel.bill.line import Line
from costmodel.bill.machines import MachineBill, TeacherFleet, rented
from costmodel.bill.rails import Rail, RailName, failure_lines, lines_alone, rail, total
from costmodel.inputs.assumptions import Operation
from costmodel.money.pricing import MachinePrice


@dataclass(frozen=True, slots=True)
class Unit:
    """US dollars per request."""

    teacher: Decimal
    escalated: Decimal
    kept: Decimal


@dataclass(frozen=True, slots=True)
class OwnTeacher:
    """A teacher rented by the hour: whole machines, for every request or for what is asked."""

    price: MachinePrice
    fleet: TeacherFleet
    escalated_work: float
    """Machine time of an escalated request over that of the mean one."""

    def everything(self, requests: Decimal) -> MachineBill:
        """The machines that answer every request."""
        return rented("teacher", self.price, requests, self.fleet.everything)

    def asked(self, requests: Decimal, rate: float, operation: Operation) -> MachineBill:
        """The machines that answer escalations and audits; somebody must be there to be asked."""
        kept = max(1 - rate * self.escalated_work, 0.0)
        work = rate * self.escalated_work * operation.attempts + operation.audit_rate * kept
        return rented("teacher", self.price, requests * _decimal(work), self.fleet.asked)


@dataclass(frozen=True, slots=True)
class Month:
    """The cascade's month as a function of the escalation rate."""

    requests: Decimal
    unit: Unit
    student: MachineBill
    operation: Operation
    teacher: OwnTeacher | None = None
    """None: paid by the request."""

    @property
    def teacher_lines(self) -> tuple[Line, ...]:
        """Asking the teacher everything, line by line."""
        if self.teacher is not None:
            return self.teacher.everything(self.requests).lines
        return (Line(name="teacher, every request", usd=self.requests * self.unit.teacher),)

    @property
    def teacher_usd(self) -> Decimal:
        """US dollars of asking the teacher everything."""
        return total(self.teacher_lines)

    def usd(self, rate: float) -> Decimal:
        """US dollars of the cascade's month."""
        return total(self.lines(rate))

    def lines(self, rate: float) -> tuple[Line, ...]:
        """The cascade's bill, line by line."""
        lines = [*self.student.lines, *self._asked_lines(rate)]
        if self.operation.monthly_usd:
            lines.append(Line(name="retraining, monitoring", usd=self.operation.monthly_usd))
        return (*lines, *failure_lines(self.operation.failures, self.requests))

    def _asked_lines(self, rate: float) -> tuple[Line, ...]:
        if self.teacher is not None:
            return self.teacher.asked(self.requests, rate, self.operation).lines
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
        return tuple(lines)

    def rails(self, rate: float, baselines: tuple[Baseline, ...]) -> tuple[Rail, ...]:
        """Every way to get the answers, side by side."""
        bills: dict[RailName, tuple[Line, ...]] = {
            "teacher_only": self.teacher_lines,
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


def _decimal(share: float) -> Decimal:
    return Decimal(repr(share))
