"""The ways to get the answers, side by side, each with its bill line by line.

Rails: `teacher_only` asks the teacher everything, `student_only` nothing, `cascade` asks it when
the student is unsure, `decision_api` asks a cheap public model everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from costmodel.errors import BadProjection
from costmodel.inputs.assumptions import Failures
from costmodel.money.pricing import (
    HOURS_PER_MONTH,
    SECONDS_PER_HOUR,
    MachinePrice,
    Price,
    amount,
)

RailName = Literal["teacher_only", "student_only", "cascade", "decision_api"]

Usd = Annotated[
    Decimal, PlainSerializer(lambda usd: round(float(usd), 6), return_type=float, when_used="json")
]
"""US dollars: Decimal in Python, a number in JSON."""


class Line(BaseModel):
    """One line of a month's bill and how it came about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    usd: Usd
    detail: str = ""


class Rail(BaseModel):
    """One way to get the answers: what a month costs, and what 1,000 requests cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: RailName
    usd_per_month: Usd
    usd_per_1k: Usd
    ratio: float
    """Cost relative to teacher_only."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many student machines are kept, whatever the traffic of the moment is.

    Machines are sized for the busiest moment: `peak_to_mean` times the mean rate must keep each of
    them at most `max_utilisation` busy. The defaults are those of a diurnal production service
    (ServeGen, arXiv 2505.09999: peak 3.3 times the mean).
    """

    min_machines: int = 2
    peak_to_mean: float = 3.3
    max_utilisation: float = 0.7

    def __post_init__(self) -> None:
        if self.min_machines < 1:
            raise BadProjection(f"min_machines is {self.min_machines}; at least 1 is needed")
        if not self.peak_to_mean >= 1:
            raise BadProjection(f"peak_to_mean is {self.peak_to_mean}; it must be at least 1")
        if not 0 < self.max_utilisation <= 1:
            raise BadProjection(f"max_utilisation is {self.max_utilisation}; it must be in (0, 1]")

    def machines(self, requests_per_second: float, one_machine: float) -> int:
        """The machines needed for a mean rate, when one carries `one_machine` a second."""
        peak = requests_per_second * self.peak_to_mean
        return max(self.min_machines, math.ceil(peak / (one_machine * self.max_utilisation)))


class StudentBill(BaseModel):
    """A month of the student, both ways: the busy share, and the machines that are really paid.

    `machines` is 0 when the student is not rented by the hour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: int
    min_machines: int
    requests_per_machine: float
    """Requests of a month that one more machine adds room for, peaks included; 0 if not rented."""
    utilisation: float
    marginal_usd: Usd
    provisioned_usd: Usd

    @property
    def idle_usd(self) -> Decimal:
        """Paid and not used."""
        return self.provisioned_usd - self.marginal_usd

    @property
    def lines(self) -> tuple[Line, ...]:
        """The bill, idle time on its own line."""
        if not self.machines:
            return (Line(name="student", usd=self.provisioned_usd),)
        return (
            Line(
                name="student machines, busy",
                usd=self.marginal_usd,
                detail=f"{self.utilisation:.1%} of {self.machines} machines × 730 h",
            ),
            Line(
                name="student machines, idle",
                usd=self.idle_usd,
                detail="kept for peaks and for availability",
            ),
        )


def failure_lines(failures: Failures, requests: Decimal) -> tuple[Line, ...]:
    """What wrong answers and refusals cost their users in a month; nothing where nobody said."""
    found = (
        ("wrong answers", failures.wrong, failures.wrong_usd),
        ("refused requests", failures.refused, failures.refused_usd),
    )
    return tuple(
        Line(
            name=name,
            usd=requests * Decimal(repr(share)) * each,
            detail=f"{share:.3%} of requests at {amount(each)} each",
        )
        for name, share, each in found
        if each
    )


def lines_alone(student: StudentBill, failures: Failures, requests: Decimal) -> tuple[Line, ...]:
    """The student's bill if it answers everything, with its wrong answers where they are known."""
    if failures.wrong_alone is None:
        return student.lines
    alone = Failures(wrong=failures.wrong_alone, wrong_usd=failures.wrong_usd)
    return (*student.lines, *failure_lines(alone, requests))


def student_bill(
    price: Price, usd_per_request: Decimal, requests: Decimal, fleet: Fleet
) -> StudentBill:
    """A month of the student at `requests` a month."""
    marginal = usd_per_request * requests
    if not isinstance(price, MachinePrice):
        return StudentBill(
            machines=0,
            min_machines=0,
            requests_per_machine=0.0,
            utilisation=0.0,
            marginal_usd=marginal,
            provisioned_usd=marginal,
        )
    seconds = HOURS_PER_MONTH * float(SECONDS_PER_HOUR)
    rate = float(requests) / seconds
    one = float(price.requests_per_second)
    machines = fleet.machines(rate, one)
    return StudentBill(
        machines=machines,
        min_machines=fleet.min_machines,
        requests_per_machine=one * fleet.max_utilisation / fleet.peak_to_mean * seconds,
        utilisation=rate / (machines * one),
        marginal_usd=marginal,
        provisioned_usd=price.usd_per_hour * machines * HOURS_PER_MONTH,
    )


def rail(name: RailName, lines: tuple[Line, ...], requests: Decimal, teacher_only: Decimal) -> Rail:
    """Add up a month's lines."""
    usd = sum((line.usd for line in lines), Decimal(0))
    return Rail(
        name=name,
        usd_per_month=usd,
        usd_per_1k=usd * 1000 / requests,
        ratio=float(usd / teacher_only),
        lines=lines,
    )
