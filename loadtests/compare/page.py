"""A comparison and a history as pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from costmodel.report.figures import new_figure, new_panels
from costmodel.report.page import Page
from loadtests.compare.comparison import LoadComparison
from loadtests.compare.results import HistoryLine
from loadtests.compare.shown import caption, cells, history_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANING = {
    "SAME": "No figure changed by more than matters.",
    "BETTER": "Something became better, and nothing worse.",
    "WORSE": "At least one figure became worse by more than chance explains.",
    "UNCLEAR": "The runs cannot tell: more of them, or longer ones, would.",
    "INVALID": "A side does not count: nothing is said of the change.",
}
COLOURS = {"PASS": "#2ca02c", "FAIL": "#d62728", "INVALID": "#7f7f7f"}


def comparison_page(comparison: LoadComparison) -> Page:
    """Lay out the word, the table and the intervals."""
    page = Page(
        "Two load tests compared",
        f"A: {comparison.a}, {comparison.at[0]}. B: {comparison.b}, {comparison.at[1]}.",
    )
    page.verdict(
        comparison.verdict, MEANING[comparison.verdict], "good" if comparison.passed else "bad"
    )
    page.table(
        ("figure", "A", "B", "change", "from", "to", "pairs", ""),
        [(figure.name, *cells(figure)) for figure in comparison.figures],
        f"{caption(comparison)}. Within {comparison.tolerance:.0%} a change does not matter.",
    )
    if any(figure.relative and figure.low is not None for figure in comparison.figures):
        page.figure(
            _intervals(comparison),
            "Change from A to B with its interval; between the dashed lines it does not matter.",
            "; ".join(f"{f.name} {f.word}" for f in comparison.figures),
        )
    page.table(
        ("", "A", "B"),
        [
            ("verdict of its runs", *comparison.verdicts),
            ("commit of raisehand", *(c or "–" for c in comparison.commits)),
        ],
        "The sides.",
    )
    return page


def history_page(lines: Sequence[HistoryLine]) -> Page:
    """Lay out the trend of each scenario and the table of all tests."""
    page = Page(
        "Load tests over time",
        f"{len(lines)} tests from {lines[0].at[:10]} to {lines[-1].at[:10]}.",
    )
    for scenario in dict.fromkeys(line.scenario for line in lines):
        ours = [line for line in lines if line.scenario == scenario]
        page.heading(scenario)
        page.figure(
            _trend(ours),
            "p99 and goodput of each test; green: PASS, red: FAIL, grey: INVALID.",
            f"{len(ours)} tests of {scenario}.",
        )
    page.table(
        ("at", "scenario", "verdict", "rate", "goodput", "p50, ms", "p99, ms", "commit"),
        [history_cells(line) for line in lines],
        "Every test, the oldest first.",
    )
    return page


def _intervals(comparison: LoadComparison) -> Figure:
    figure, axes = new_figure()
    shown = [f for f in comparison.figures if f.relative and f.low is not None]
    for k, each in enumerate(reversed(shown)):
        low, high, middle = (100 * (value or 0.0) for value in (each.low, each.high, each.change))
        colour = {"worse": "#d62728", "better": "#2ca02c"}.get(each.word, "#7f7f7f")
        axes.plot([low, high], [k, k], color=colour, lw=2)
        axes.plot([middle], [k], "o", color=colour)
    axes.set_yticks(range(len(shown)), [f.name for f in reversed(shown)])
    axes.axvline(0, color="black", lw=0.8)
    for edge in (-comparison.tolerance, comparison.tolerance):
        axes.axvline(100 * edge, color="black", lw=0.6, ls="--")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("change from A to B, %")
    return figure


def _trend(lines: Sequence[HistoryLine]) -> Figure:
    from matplotlib.dates import date2num

    figure, (upper, lower) = new_panels(2)
    moments = date2num([datetime.fromisoformat(line.at) for line in lines]).tolist()
    for axes, name, values in (
        (upper, "p99, ms", [line.p99_ms for line in lines]),
        (lower, "good answers per second", [line.goodput_rps for line in lines]),
    ):
        known = [
            (at, value, COLOURS[line.verdict])
            for at, value, line in zip(moments, values, lines, strict=True)
            if value is not None
        ]
        axes.plot([at for at, _, _ in known], [v for _, v, _ in known], color="#999999", lw=0.8)
        axes.scatter([at for at, _, _ in known], [v for _, v, _ in known], c=[c for *_, c in known])
        axes.set_ylim(bottom=0)
        axes.set_ylabel(name)
    lower.xaxis_date()
    figure.autofmt_xdate()
    return figure
