"""The figures of a money report, as matplotlib figures for `costmodel.report.page`.

Colours are readable on light and on dark paper; black becomes the page's ink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from costmodel.bill.projection import Projection
from costmodel.bill.rails import Rail
from costmodel.plan.pareto import ParetoPoint
from costmodel.report.tables import RAILS, usd
from costmodel.uncertainty.draws import INPUTS, Uncertain
from costmodel.units import DAY_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from costmodel.engine.result import Result
    from costmodel.plan.study import Study
    from costmodel.plan.year import MonthOfYear

TEACHER, STUDENT, IDLE, AUDIT, OTHER = "#4f6fd8", "#1f9e78", "#8fcfb8", "#d9902f", "#9a7fd1"
_COLOURS = {
    "teacher, every request": TEACHER,
    "teacher, escalations": "#7d55c7",
    "teacher, audits": AUDIT,
    "teacher, retried and cancelled": "#c4566b",
    "student": STUDENT,
    "student machines, busy": STUDENT,
    "student machines, idle": IDLE,
    "retraining, monitoring": OTHER,
    "teacher machines, busy": TEACHER,
    "teacher machines, idle": "#a9b8ec",
    "wrong answers": "#c4566b",
    "refused requests": "#8c4a5a",
    "decision API, every request": "#8a94a3",
}
NARROW = 4.2
"""Inches: text of 10 points is 12 pixels high where this fills a phone."""
_MONTHS_SHOWN = 12.0
_FEW = 12
"""Points that may have a marker each."""


def new_figure(
    width: float = 7.2, height: float = 4.0, *, narrow: bool = False
) -> tuple[Figure, Axes]:
    """An empty figure with light axes, without matplotlib's global state; narrow for a phone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(NARROW if narrow else width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def new_panels(
    count: int, height: float = 1.7, *, narrow: bool = False
) -> tuple[Figure, list[Axes]]:
    """Panels above each other over one x axis: each quantity has an axis of its own."""
    from matplotlib.figure import Figure

    size = (NARROW if narrow else 7.2, 0.5 + height * count)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    figure.align_ylabels(panels)
    return figure, panels


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, its ticks plain numbers: 1, 20, 5,000 and no powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if _decades(axes, which) < 2 else (1.0,))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def _decades(axes: Axes, which: Literal["x", "y"]) -> float:
    least, most = axes.get_xlim() if which == "x" else axes.get_ylim()
    return math.log10(most / least)


def cost_by_rail_figure(projection: Projection, *, narrow: bool = False) -> Figure:
    """One bar per rail, stacked by line of the bill, with the month's total at its end."""
    return rails_figure(projection.rails, narrow=narrow)


def rails_figure(rails: Sequence[Rail], *, narrow: bool = False) -> Figure:
    """The same for any rails."""
    figure, axes = new_figure(narrow=narrow)
    seen: set[str] = set()
    for row, rail in enumerate(rails):
        left = 0.0
        for line in rail.lines:
            label = None if line.name in seen else line.name
            axes.barh(row, float(line.usd), left=left, color=_COLOURS[line.name], label=label)
            seen.add(line.name)
            left += float(line.usd)
        axes.annotate(
            usd(rail.usd_per_month), (left, row), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(rails)), [_name(RAILS[rail.name], narrow=narrow) for rail in rails])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.3 if narrow else 0.16)
    axes.locator_params(axis="x", nbins=3 if narrow else 7)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_xlabel("US dollars per month of 730 hours")
    figure.legend(frameon=False, fontsize="small", loc="outside lower left", ncols=1 + (not narrow))
    return figure


def break_even_figure(projection: Projection, *, narrow: bool = False) -> Figure:
    """Cumulative cost of teacher-only and of the cascade, one-off cost and interval included."""
    figure, axes = new_figure(narrow=narrow)
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
    if months is not None and paid:
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


def compared_figure(studies: Sequence[Study], *, narrow: bool = False) -> Figure:
    """Cost of each answer against its agreement; what does not work is hollow."""
    figure, axes = new_figure(narrow=narrow)
    for one in studies:
        at = (100 * one.mean(lambda run: run.agreement), float(one.bill.cascade))
        works = one.verdict.works
        axes.plot(*at, "o", color=STUDENT, markersize=9, fillstyle="full" if works else "none")
        axes.annotate(one.scenario.name, at, (7, 5), textcoords="offset points", fontsize="small")
    axes.set_xlabel("agreement with the teacher, % of all answers")
    axes.set_ylabel("cascade, US dollars per month")
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.2)
    return figure


def year_figure(months: Sequence[MonthOfYear], *, narrow: bool = False) -> Figure:
    """Cash since the beginning against asking only the teacher."""
    figure, axes = new_figure(narrow=narrow)
    axes.plot(
        [m.number for m in months], [m.cash for m in months], "o-", color=STUDENT, label="cash"
    )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("month")
    axes.set_ylabel("US dollars since the beginning")
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    return figure


def tornado_figure(uncertain: Uncertain, *, narrow: bool = False) -> Figure:
    """The month's saving with each input at its P10 and at its P90, widest bar on top."""
    figure, axes = new_figure(height=max(2.2, 0.9 + 0.5 * len(uncertain.tornado)), narrow=narrow)
    middle = uncertain.saving_usd.p50
    for row, swing in enumerate(uncertain.tornado):
        for end, value, colour in (
            (swing.saving_at_low, swing.low, STUDENT),
            (swing.saving_at_high, swing.high, TEACHER),
        ):
            axes.barh(row, end - middle, left=middle, color=colour)
            side = 4 if end >= middle else -4
            axes.annotate(
                f"{value:.3g}", (end, row), (side, 0), textcoords="offset points",
                va="center", ha="left" if side > 0 else "right", fontsize="small",
            )  # fmt: skip
    axes.axvline(middle, color="black", linewidth=0.8)
    names = [_name(INPUTS[swing.input], narrow=narrow) for swing in uncertain.tornado]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.25 if narrow else 0.15)
    axes.locator_params(axis="x", nbins=2 if narrow else 5)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_xlabel("saving per month; green: input at P10, blue: at P90")
    return figure


def pareto_figure(
    points: Sequence[ParetoPoint], chosen: ParetoPoint, *, narrow: bool = False
) -> Figure:
    """Cost against agreement over thresholds, with the point that was chosen."""
    figure, axes = new_figure(narrow=narrow)
    axes.plot(
        [100 * p.agreement for p in points],
        [100 * p.cost_ratio for p in points],
        "o-" if len(points) <= _FEW else "-",
        color=STUDENT,
        label="thresholds, closed form",
    )
    for point in _spread(points):
        axes.annotate(
            f"{point.threshold:.2g}",
            (100 * point.agreement, 100 * point.cost_ratio),
            (-4, 6),
            textcoords="offset points",
            fontsize="small",
            ha="right",
        )
    axes.plot(
        [100 * chosen.agreement],
        [100 * chosen.cost_ratio],
        "D",
        color=AUDIT,
        markersize=9,
        label="chosen",
    )
    axes.set_xlabel("agreement with the teacher, % of all answers")
    axes.set_ylabel("cost, % of teacher only")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _spread(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Points far enough apart for their labels not to cover each other."""
    whole = [(p.agreement, p.cost_ratio) for p in points]
    wide = max(a for a, _ in whole) - min(a for a, _ in whole) or 1.0
    tall = max(c for _, c in whole) - min(c for _, c in whole) or 1.0
    kept: list[ParetoPoint] = []
    for point in points:
        far = all(
            abs(point.agreement - other.agreement) / wide > 0.09
            or abs(point.cost_ratio - other.cost_ratio) / tall > 0.09
            for other in kept
        )
        if far:
            kept.append(point)
    return kept


def day_figure(result: Result, *, narrow: bool = False) -> Figure:
    """Traffic, latency and utilisation over the simulated time."""
    windows = result.timeline
    long = result.seconds > 2 * DAY_S
    scale, unit = (float(DAY_S), "days") if long else (3600.0, "hours")
    if result.seconds < 2 * 3600:
        scale, unit = 60.0, "minutes"
    at = [(w.start_s + w.seconds / 2) / scale for w in windows]
    figure, (rate, latency, busy) = new_panels(3, narrow=narrow)
    rate.plot(at, [w.counts["requests"] / w.seconds for w in windows], color="black", label="all")
    rate.plot(
        at,
        [w.counts["wanted_teacher"] / w.seconds for w in windows],
        color=TEACHER,
        label="escalated",
    )
    rate.set_ylabel("requests / s")
    latency.plot(at, [1000 * w.p50_s for w in windows], color=STUDENT, label="p50")
    latency.plot(at, [1000 * w.p99_s for w in windows], color=AUDIT, label="p99")
    log_scale(latency, "y")
    latency.set_ylabel("latency, ms")
    busy.plot(at, [100 * w.student_utilisation for w in windows], color=STUDENT, label="student")
    slots = _slots(result)
    busy.plot(
        at,
        [100 * w.teacher_busy_s / (slots * w.seconds) for w in windows],
        color=TEACHER,
        label="teacher",
    )
    busy.set_ylabel("busy, %")
    busy.set_xlabel(unit)
    for axes in (rate, latency, busy):
        axes.legend(frameon=False, fontsize="small", loc="best", ncols=2)
    rate.set_ylim(bottom=0)
    busy.set_ylim(bottom=0)
    return figure


def _name(words: str, *, narrow: bool) -> str:
    """A row's name, on two lines where there is little room."""
    return "\n".join(wrap(words, 16)) if narrow else words


def _slots(result: Result) -> int:
    teacher = result.scenario.teacher
    return teacher.max_concurrency if teacher.kind == "api" else teacher.replicas


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
