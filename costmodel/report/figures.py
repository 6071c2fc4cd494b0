"""The figures of a money report, as matplotlib figures for `costmodel.report.page`.

Colours are readable on light and on dark paper; black becomes the page's ink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.projection import Projection
from costmodel.report.tables import RAILS, usd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEACHER, STUDENT, IDLE, AUDIT, OTHER = "#4f6fd8", "#1f9e78", "#8fcfb8", "#d9902f", "#9a7fd1"
_COLOURS = {
    "teacher, every request": TEACHER,
    "teacher, escalations": TEACHER,
    "teacher, audits": AUDIT,
    "teacher, retried and cancelled": "#c4566b",
    "student": STUDENT,
    "student machines, busy": STUDENT,
    "student machines, idle": IDLE,
    "retraining, monitoring": OTHER,
    "decision API, every request": "#8a94a3",
}
_MONTHS_SHOWN = 12.0


def new_figure(width: float = 7.2, height: float = 4.0) -> tuple[Figure, Axes]:
    """An empty figure with light axes, without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def cost_by_rail_figure(projection: Projection) -> Figure:
    """One bar per rail, stacked by line of the bill, with the month's total at its end."""
    figure, axes = new_figure()
    seen: set[str] = set()
    for row, rail in enumerate(projection.rails):
        left = 0.0
        for line in rail.lines:
            label = None if line.name in seen else line.name
            axes.barh(row, float(line.usd), left=left, color=_COLOURS[line.name], label=label)
            seen.add(line.name)
            left += float(line.usd)
        axes.annotate(
            usd(rail.usd_per_month), (left, row), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(projection.rails)), [RAILS[rail.name] for rail in projection.rails])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_xlabel("US dollars per month of 730 hours")
    axes.legend(frameon=False, fontsize="small", loc="best")
    return figure


def break_even_figure(projection: Projection) -> Figure:
    """Cumulative cost of teacher-only and of the cascade, one-off cost and interval included."""
    figure, axes = new_figure()
    teacher = float(projection.rail("teacher_only").usd_per_month)
    cascade = float(projection.rail("cascade").usd_per_month)
    paid = float(projection.break_even.one_off_usd)
    worst, best = teacher - float(projection.savings.low), teacher - float(projection.savings.high)
    months = projection.break_even.months
    end = _MONTHS_SHOWN if not months or not months.mid else min(2.5 * months.mid, 60.0)
    scale, unit = _time_unit(end)
    time = [0.0, end * scale]
    axes.plot(time, [0.0, teacher * end], color=TEACHER, label="teacher only")
    axes.plot(time, [paid, paid + cascade * end], color=STUDENT, label="cascade")
    axes.fill_between(
        time,
        [paid, paid + best * end],
        [paid, paid + worst * end],
        color=STUDENT,
        alpha=0.2,
        linewidth=0,
        label="95 % interval",
    )
    if months is not None:
        point = (months.mid * scale, teacher * months.mid)
        axes.plot(*point, "o", color="black")
        words = f"earned back on {projection.break_even.date}"
        axes.annotate(words, point, (8, -14), textcoords="offset points")
    axes.set_xlim(0, end * scale)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(unit)
    axes.set_ylabel("US dollars, cumulative")
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.legend(frameon=False, loc="upper left")
    return figure


def _time_unit(months: float) -> tuple[float, str]:
    """Units of time in one month, and their name, so that a span reads well."""
    if months < 0.003:
        return 730 * 60.0, "minutes"
    if months < 0.1:
        return 730.0, "hours"
    if months < 3:
        return 730 / 24, "days"
    return 1.0, "months of 730 hours"


def _short(value: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"${value / limit:g}{unit}"
    return f"${value:g}"
