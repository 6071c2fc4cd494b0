"""Twelve months instead of one: growth, prices that move, what is paid once, cumulative cash."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.bill.projection import Projection
from costmodel.errors import BadProjection
from costmodel.uncertainty.draws import MoneyModel


@dataclass(frozen=True, slots=True)
class Course:
    """How a month's inputs move from each month to the next; shares, 0 is no change."""

    growth: float = 0.0
    teacher_price: float = 0.0
    student_price: float = 0.0
    months: int = 12
    discount_per_year: float = 0.0
    """What money costs: a dollar a year from now is worth 1 / (1 + this)."""

    def __post_init__(self) -> None:
        for name in ("growth", "teacher_price", "student_price", "discount_per_year"):
            if not -1 < getattr(self, name) < 100:
                raise BadProjection(f"{name} is {getattr(self, name):g}; it must be above -1")
        if not 1 <= self.months <= 120:
            raise BadProjection(f"months is {self.months}; 1 to 120 can be projected")


@dataclass(frozen=True, slots=True)
class MonthOfYear:
    """One month: US dollars, and the cash since the beginning against asking only the teacher."""

    number: int
    requests: float
    teacher_only: float
    cascade: float
    cash: float
    """Savings so far less what was paid once; negative: not yet earned back."""
    present_value: float
    """The same with each month's saving discounted to the beginning."""

    @property
    def saving(self) -> float:
        """Of this month; negative is a loss."""
        return self.teacher_only - self.cascade


def year(projection: Projection, course: Course) -> tuple[MonthOfYear, ...]:
    """Project the months one by one in closed form; machines follow the traffic, whole ones.

    Labels and training of new students are in each month's bill as `retraining, monitoring`.
    """
    model = MoneyModel(projection)
    cash = value = -float(projection.break_even.one_off_usd)
    found = []
    for k in range(course.months):
        at = {
            **model.middle,
            "traffic": (1 + course.growth) ** k,
            "teacher_price": (1 + course.teacher_price) ** k,
            "student_price": (1 + course.student_price) ** k,
        }
        teacher, cascade = float(model.teacher_only(at)), float(model.cascade(at))
        cash += teacher - cascade
        value += (teacher - cascade) / (1 + course.discount_per_year) ** ((k + 1) / 12)
        requests = projection.requests_per_month * (1 + course.growth) ** k
        found.append(MonthOfYear(k + 1, requests, teacher, cascade, cash, value))
    return tuple(found)


def earned_back(months: tuple[MonthOfYear, ...]) -> int | None:
    """The month in which the cash is no longer negative and stays so; None: none of these."""
    late = [month.number for month in months if month.cash < 0]
    first = (max(late) if late else 0) + 1
    return first if first <= len(months) else None
