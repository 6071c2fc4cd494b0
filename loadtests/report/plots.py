"""The plots of a load test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.report.figures import new_figure
from loadtests.report.figures_of_run import LoadReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "student": "#1f77b4",
    "teacher": "#d62728",
    "degraded": "#ff7f0e",
    "unrouted": "#7f7f7f",
}
OTHER = "#9467bd"


def latency_over_time(report: LoadReport) -> Figure:
    """p50 and p99 of all that was due in each interval, on a log scale."""
    figure, axes = new_figure()
    at = [i.at_s for i in report.intervals]
    axes.plot(at, [_or_nan(i.p50_ms) for i in report.intervals], label="p50", color="#1f77b4")
    axes.plot(at, [_or_nan(i.p99_ms) for i in report.intervals], label="p99", color="#d62728")
    axes.set_yscale("log")
    axes.set_xlabel("seconds of the measured window")
    axes.set_ylabel("ms from the scheduled instant")
    axes.legend(frameon=False)
    return figure


def cumulative_latency(report: LoadReport) -> Figure:
    """Share of the answers up to each latency, by route."""
    figure, axes = new_figure()
    for route, points in report.cdf_ms.items():
        at, share = zip(*points, strict=True)
        axes.step(at, share, where="post", label=route, color=COLOURS.get(route, OTHER))
    axes.set_xscale("log")
    axes.set_xlabel("ms from the scheduled instant")
    axes.set_ylabel("share of answers")
    axes.set_ylim(0, 1.01)
    axes.legend(frameon=False)
    return figure


def rates_over_time(report: LoadReport) -> Figure:
    """Requested, offered, achieved and good requests per second."""
    figure, axes = new_figure()
    at = [i.at_s for i in report.intervals]
    axes.plot(at, [i.requested_rps for i in report.intervals], label="requested", color="black")
    axes.plot(
        at, [i.offered_rps for i in report.intervals], label="offered", ls="--", color="#7f7f7f"
    )
    axes.plot(at, [i.achieved_rps for i in report.intervals], label="achieved", color="#1f77b4")
    axes.plot(at, [i.good_rps for i in report.intervals], label="good", color="#2ca02c")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of the measured window")
    axes.set_ylabel("requests per second")
    axes.legend(frameon=False)
    return figure


def routes_over_time(report: LoadReport) -> Figure:
    """Share of the answers that each route but the student gave, and the cost per 1,000."""
    figure, axes = new_figure()
    at = [i.at_s for i in report.intervals]
    for route in report.routes:
        if route == "student":
            continue
        share = [i.routes.get(route, 0) / max(1, sum(i.routes.values())) for i in report.intervals]
        axes.plot(at, share, label=route, color=COLOURS.get(route, OTHER))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of the measured window")
    axes.set_ylabel("share of answers")
    cost = axes.twinx()
    per_1k = [1000 * float(i.usd) / max(1, sum(i.routes.values())) for i in report.intervals]
    cost.plot(at, per_1k, ls=":", color="black", label="USD per 1,000")
    cost.set_ylabel("USD per 1,000 requests")
    cost.set_ylim(bottom=0)
    lines = [*axes.get_lines(), *cost.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False)
    return figure


def stages(report: LoadReport) -> Figure:
    """Median and p99 of each stage of an answer, from Server-Timing."""
    figure, axes = new_figure()
    names = list(report.stages_ms)
    for offset, name, colour in ((-0.2, "p50", "#1f77b4"), (0.2, "p99", "#d62728")):
        values = [getattr(report.stages_ms[stage], name) or 0.0 for stage in names]
        axes.barh([k + offset for k in range(len(names))], values, 0.38, label=name, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(left=0)
    axes.set_xlabel("ms")
    axes.legend(frameon=False)
    return figure


def server_usage(report: LoadReport) -> Figure:
    """Cores and memory that the server's processes used."""
    figure, axes = new_figure()
    at = [u.at_s for u in report.usage]
    axes.plot(at, [u.cpu for u in report.usage], color="#1f77b4", label="cores")
    if any(u.gpu is not None for u in report.usage):
        axes.plot(at, [_or_nan(u.gpu) for u in report.usage], color="#2ca02c", label="GPU share")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of the measured window")
    axes.set_ylabel("cores in use")
    memory = axes.twinx()
    memory.plot(at, [u.rss_mb for u in report.usage], ls=":", color="black", label="RSS, MB")
    memory.set_ylabel("RSS, MB")
    memory.set_ylim(bottom=0)
    lines = [*axes.get_lines(), *memory.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False)
    return figure


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
