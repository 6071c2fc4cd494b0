"""A knee as one self-contained HTML page: the curve, every probe, and why the search ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from costmodel.report.figures import log_scale, new_figure
from costmodel.report.page import Headline, Page
from loadtests.verdict.knee import Knee, KneeProbe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def knee_page(knee: Knee, about: str) -> Page:
    """Lay out a search; `about` says of what."""
    page = Page("The knee", about)
    if knee.rate is None:
        page.verdict("NO KNEE", f"{knee.words[0].upper()}{knee.words[1:]}.", "bad")
    else:
        page.verdict(
            f"{knee.rate:,.0f} requests per second",
            f"It held in {knee.confirmed} runs with different seeds; {knee.words}.",
            "bad" if knee.ended_by in ("generator", "budget", "interrupted") else "good",
        )
        page.headlines(
            [
                Headline(f"{p.goodput_rps:,.0f}", "goodput", f"at {p.rate:,.0f} rps")
                for p in knee.past
            ]
        )
    page.figure(
        lambda narrow: goodput_by_rate(knee, narrow=narrow),
        "Answers within the deadline against the rate that was asked for; the line is where both "
        "are equal.",
        "Goodput against the rate.",
    )
    if any(p.p99_ms is not None for p in knee.probes):
        page.figure(
            lambda narrow: latency_by_rate(knee, narrow=narrow),
            "p99 of all requests, where the run carries one, against the rate.",
            "p99 against the rate.",
        )
    page.table(
        ("rate", "seed", "held", "goodput", "p50, ms", "p99, ms", "failed", "why not"),
        [
            (
                f"{p.rate:,.1f}",
                str(p.seed),
                "yes" if p.passed else "no",
                f"{p.goodput_rps:,.1f}",
                p.p50_ms,
                p.p99_ms,
                f"{p.failure_rate:.2%}",
                p.why,
            )
            for p in (*knee.probes, *knee.past)
        ],
        "Every run of the search.",
    )
    return page


def goodput_by_rate(knee: Knee, *, narrow: bool = False) -> Figure:
    """Goodput against the rate, with the knee."""
    figure, axes = new_figure(narrow=narrow)
    every = [*knee.probes, *knee.past]
    most = max(p.rate for p in every)
    axes.plot([0, most], [0, most], color="#999999", lw=0.8)
    _points(axes, every, lambda p: p.goodput_rps)
    _mark(axes, knee)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests per second, asked for")
    axes.set_ylabel("good answers per second")
    return figure


def latency_by_rate(knee: Knee, *, narrow: bool = False) -> Figure:
    """p99 against the rate, with the knee."""
    figure, axes = new_figure(narrow=narrow)
    _points(axes, [p for p in (*knee.probes, *knee.past) if p.p99_ms], lambda p: p.p99_ms)
    _mark(axes, knee)
    axes.set_xlim(left=0)
    log_scale(axes, "y")
    axes.set_xlabel("requests per second, asked for")
    axes.set_ylabel("p99, ms")
    return figure


def _points(
    axes: Axes, probes: Sequence[KneeProbe], of: Callable[[KneeProbe], float | None]
) -> None:
    for held, marker, label in ((True, "o", "held"), (False, "x", "did not hold")):
        shown = [p for p in probes if p.passed is held]
        axes.plot(
            [p.rate for p in shown],
            [of(p) or 0.0 for p in shown],
            marker,
            color="#2ca02c" if held else "#d62728",
            label=label,
        )
    axes.legend(frameon=False)


def _mark(axes: Axes, knee: Knee) -> None:
    if knee.rate is not None:
        axes.axvline(knee.rate, ls="--", color="black", lw=0.8)
