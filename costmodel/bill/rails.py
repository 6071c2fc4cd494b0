"""The ways to get the answers, side by side, each with its bill line by line.

Rails: `teacher_only` asks the teacher everything, `student_only` nothing, `cascade` asks it when
the student is unsure, `decision_api` asks a cheap public model everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from costmodel.bill.line import Line, Usd
from costmodel.bill.machines import MachineBill
from costmodel.frozen import Frozen
from costmodel.inputs.assumptions import Failures
from costmodel.money.pricing import amount

RailName = Literal["teacher_only", "student_only", "cascade", "decision_api"]


class Rail(Frozen):
    """One way to get the answers: what a month costs, and what 1,000 requests cost."""

    name: RailName
    usd_per_month: Usd
    usd_per_1k: Usd
    ratio: float
    """Cost relative to teacher_only."""
    lines: tuple[Line, ...]


def rail(name: RailName, lines: tuple[Line, ...], requests: Decimal, teacher_only: Decimal) -> Rail:
    """Add up a month's lines."""
    usd = total(lines)
    return Rail(
        name=name,
        usd_per_month=usd,
        usd_per_1k=usd * 1000 / requests,
        ratio=float(usd / teacher_only),
        lines=lines,
    )


def mean_rails(of: Sequence[tuple[Rail, ...]]) -> tuple[Rail, ...]:
    """The same rails of several runs, line by line: their mean; a line that is missing is 0."""
    found: list[Rail] = []
    for same in zip(*of, strict=True):
        lines: dict[str, Line] = {}
        for one in same:
            for line in one.lines:
                lines.setdefault(line.name, line)
        usd = {
            name: sum(
                (line.usd for one in same for line in one.lines if line.name == name), Decimal(0)
            )
            for name in lines
        }
        means = tuple(
            line.model_copy(update={"usd": usd[name] / len(same)}) for name, line in lines.items()
        )
        month = total(means)
        each = same[0].usd_per_1k / same[0].usd_per_month if same[0].usd_per_month else Decimal(0)
        teacher = found[0].usd_per_month if found else month
        found.append(
            same[0].model_copy(
                update={
                    "lines": means,
                    "usd_per_month": month,
                    "usd_per_1k": month * each,
                    "ratio": float(month / teacher),
                }
            )
        )
    return tuple(found)


def total(lines: tuple[Line, ...]) -> Decimal:
    """US dollars of all lines."""
    return sum((line.usd for line in lines), Decimal(0))


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


def lines_alone(student: MachineBill, failures: Failures, requests: Decimal) -> tuple[Line, ...]:
    """The student's bill if it answers everything, with its wrong answers where they are known."""
    if failures.wrong_alone is None:
        return student.lines
    alone = Failures(wrong=failures.wrong_alone, wrong_usd=failures.wrong_usd)
    return (*student.lines, *failure_lines(alone, requests))
