"""A comparison and a history on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from loadtests.compare.comparison import ComparedFigure, LoadComparison
from loadtests.compare.results import HistoryLine

STYLES = {"SAME": "white on green", "BETTER": "white on green", "UNCLEAR": "black on yellow"}


def show_load_comparison(comparison: LoadComparison, console: Console | None = None) -> None:
    """Print each figure of both sides, what changed, and the word across the whole width."""
    out = console or Console()
    for name, side, at, commit, verdict in zip(
        "AB",
        (comparison.a, comparison.b),
        comparison.at,
        comparison.commits,
        comparison.verdicts,
        strict=True,
    ):
        out.print(f"{name}: {side}, {at}{f', commit {commit}' if commit else ''}, {verdict}")
    table = Table(title=caption(comparison), title_justify="left")
    for header in ("figure", "A", "B", "change", "from", "to", "pairs", ""):
        table.add_column(header, justify="left" if header in ("figure", "") else "right")
    for figure in comparison.figures:
        table.add_row(figure.name, *cells(figure))
    out.print(table)
    style = STYLES.get(comparison.verdict, "white on red")
    out.print(Panel(Text(comparison.verdict, justify="center"), style=f"bold {style}"))


def caption(comparison: LoadComparison) -> str:
    """Say what the interval rests on."""
    pairs = "pairs of runs" if comparison.paired_by == "run" else "stretches of the runs"
    return f"B against A by {pairs}; all intervals together hold with 95 %"


def cells(figure: ComparedFigure) -> tuple[str, ...]:
    """Return the cells of a row: both sides, the change, its interval, pairs, word."""
    return (
        value_of(figure, figure.a),
        value_of(figure, figure.b),
        *(change_of(figure, value) for value in (figure.change, figure.low, figure.high)),
        str(figure.pairs),
        figure.word,
    )


def value_of(figure: ComparedFigure, value: float | None) -> str:
    """Write one side's figure."""
    if value is None:
        return "–"
    return f"{value:.2%}" if figure.name == "escalated" else f"{value:,.2f}"


def change_of(figure: ComparedFigure, value: float | None) -> str:
    """Write a change: in per cent, or in points where the figure is a share."""
    if value is None:
        return "–"
    if figure.relative:
        return f"{value:+.1%}"
    return f"{100 * value:+.2f} points" if figure.name == "escalated" else f"{value:+.2f}"


def show_history(lines: Sequence[HistoryLine], console: Console | None = None) -> None:
    """Print the tests in a row."""
    table = Table(title="load tests, the oldest first", title_justify="left")
    headers = ("at", "scenario", "verdict", "rate", "goodput", "p50, ms", "p99, ms", "commit")
    for header in headers:
        left = header in ("at", "scenario", "verdict", "commit")
        table.add_column(header, justify="left" if left else "right")
    for line in lines:
        table.add_row(*history_cells(line))
    (console or Console()).print(table)


def history_cells(line: HistoryLine) -> tuple[str, ...]:
    """Return the cells of one test."""
    return (
        line.at[:16].replace("T", " "),
        line.scenario,
        line.verdict,
        f"{line.rate:,.1f}",
        f"{line.goodput_rps:,.1f}",
        "–" if line.p50_ms is None else f"{line.p50_ms:,.2f}",
        "–" if line.p99_ms is None else f"{line.p99_ms:,.2f}",
        line.commit or "",
    )
