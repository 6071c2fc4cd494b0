"""The plots of a load test. One quantity, one axis; a teacher's outage is shaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from costmodel.report.figures import log_scale, new_figure, new_panels
from loadtests.figures.load_report import LoadInterval, LoadReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "student": "#1f77b4",
    "teacher": "#d62728",
    "degraded": "#ff7f0e",
    "unrouted": "#7f7f7f",
}
P50, P90, P99, GOOD, GREY, OTHER = "#1f77b4", "#ff7f0e", "#d62728", "#2ca02c", "#7f7f7f", "#9467bd"
SECONDS = "seconds of the measured window"
Outages = Sequence[tuple[float, float]]
"""Seconds of the measured window between which the teacher was made to fail."""


def rates_over_time(report: LoadReport, outages: Outages, *, narrow: bool = False) -> Figure:
    """What was asked and sent above, what was answered and answered well below."""
    figure, (asked, answered) = new_panels(2, 2.0, narrow=narrow)
    _line(asked, report, lambda i: i.requested_rps, "asked for", "black")
    _line(asked, report, lambda i: i.offered_rps, "sent", GREY, "--")
    _line(answered, report, lambda i: i.achieved_rps, "answered", P50)
    _line(answered, report, lambda i: i.good_rps, "answered well", GOOD, "--")
    most = 1.1 * max((max(i.requested_rps, i.achieved_rps) for i in report.intervals), default=1.0)
    for axes in (asked, answered):
        axes.set_ylim(0, most)
        axes.set_ylabel("requests per second" if not narrow else "per second")
    return _over_time(figure, [asked, answered], report, outages)


def latency_over_time(report: LoadReport, outages: Outages, *, narrow: bool = False) -> Figure:
    """Percentiles of all that was due in each interval, on a log scale.

    One that no interval has the requests for, as a p99 at 100 a second, is not named.
    """
    figure, axes = new_figure(narrow=narrow)
    for name, colour in (("p50", P50), ("p90", P90), ("p99", P99)):
        value = partial(_percentile, f"{name}_ms")
        if any(map(isfinite, map(value, report.intervals))):
            _line(axes, report, value, name, colour)
    log_scale(axes, "y")
    axes.set_ylabel("ms from the scheduled instant")
    return _over_time(figure, [axes], report, outages)


def routes_over_time(report: LoadReport, outages: Outages, *, narrow: bool = False) -> Figure:
    """Share of the answers that each route but the student gave; below, the cost per 1,000."""
    figure, (share, cost) = new_panels(2, 2.0, narrow=narrow)
    for route in report.routes:
        if route != "student":
            _line(share, report, _share_of(route), route, COLOURS.get(route, OTHER))
    share.set_ylabel("share of answers")
    share.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    _line(cost, report, lambda i: 1000 * float(i.usd) / _answers(i), "", "black")
    cost.set_ylabel("USD per 1,000")
    for axes in (share, cost):
        axes.set_ylim(bottom=0)
    return _over_time(figure, [share, cost], report, outages)


def server_usage(report: LoadReport, outages: Outages, *, narrow: bool = False) -> Figure:
    """Cores, memory and, where there is one, the GPU of the server's processes."""
    gpu = any(u.gpu is not None for u in report.usage)
    figure, panels = new_panels(3 if gpu else 2, narrow=narrow)
    at = [u.at_s for u in report.usage]
    panels[0].plot(at, [u.cpu for u in report.usage], color=P50)
    panels[0].set_ylabel("cores in use")
    panels[1].plot(at, [u.rss_mb for u in report.usage], color="black")
    panels[1].set_ylabel("memory, MB")
    if gpu:
        panels[2].plot(at, [100 * _or_nan(u.gpu) for u in report.usage], color=GOOD)
        panels[2].set_ylabel("GPU, %")
    for axes in panels:
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    return _over_time(figure, panels, report, outages)


def cumulative_latency(report: LoadReport, *, narrow: bool = False) -> Figure:
    """Share of the answers up to each latency, by route."""
    figure, axes = new_figure(narrow=narrow)
    for route, points in report.cdf_ms.items():
        at, share = zip(*points, strict=True)
        axes.step(at, share, where="post", label=route, color=COLOURS.get(route, OTHER))
    log_scale(axes, "x")
    axes.set_xlabel("ms from the scheduled instant")
    axes.set_ylabel("share of answers")
    axes.set_ylim(0, 1.01)
    axes.legend(frameon=False)
    return figure


def stages(report: LoadReport, *, narrow: bool = False) -> Figure:
    """From the median to the p99 of each stage of an answer: a line has no foot to compare by."""
    names = list(report.stages_ms)
    figure, axes = new_figure(height=1.2 + 0.45 * len(names), narrow=narrow)
    found = [(m.p50, m.p99) for m in report.stages_ms.values()]
    for row, (p50, p99) in enumerate(found):
        if p50 and p99:
            axes.plot([p50, p99], [row, row], color=GREY, lw=2)
    for name, values, colour in (
        ("p50", [p for p, _ in found], P50),
        ("p99", [p for _, p in found], P99),
    ):
        axes.plot(
            [_or_nan(v or None) for v in values], range(len(names)), "o", color=colour, label=name
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.2)
    log_scale(axes, "x")
    axes.grid(visible=True, axis="x", alpha=0.25)
    axes.set_xlabel("ms")
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    return figure


def _line(
    axes: Axes,
    report: LoadReport,
    of: Callable[[LoadInterval], float],
    label: str,
    colour: str,
    style: str = "-",
) -> None:
    at = [i.at_s for i in report.intervals]
    axes.plot(at, [of(i) for i in report.intervals], ls=style, color=colour, label=label or None)


def _over_time(
    figure: Figure, panels: Sequence[Axes], report: LoadReport, outages: Outages
) -> Figure:
    """Shade the outages, name the lines above the panels and the seconds below them."""
    for k, axes in enumerate(panels):
        for start, end in outages:
            shade = "the teacher fails" if k == 0 and start == outages[0][0] else None
            axes.axvspan(
                start, min(end, report.measured_s), color=GREY, alpha=0.2, lw=0, label=shade
            )
        if axes.get_legend_handles_labels()[1]:
            axes.legend(
                frameon=False, fontsize="small", loc="lower left", ncols=4,
                bbox_to_anchor=(0, 1.0), borderaxespad=0.2, handlelength=1.4, columnspacing=1.0,
            )  # fmt: skip
    panels[-1].set_xlabel(SECONDS)
    return figure


def _share_of(route: str) -> Callable[[LoadInterval], float]:
    return lambda i: i.routes.get(route, 0) / _answers(i)


def _answers(interval: LoadInterval) -> int:
    return max(1, sum(interval.routes.values()))


def _percentile(field: str, interval: LoadInterval) -> float:
    return _or_nan(getattr(interval, field))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
