"""A load test on the terminal: a progress bar while it runs, one table when it is done."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from loadtests.figures.load_report import LoadReport
from loadtests.inputs.percentiles import QUANTILES
from loadtests.inputs.spec import LoadSpec
from loadtests.predict.prediction import RunPrediction
from loadtests.verdict.conclusion import Conclusion, PredictedFigure, Repeat, Verdict
from loadtests.verdict.drift import TELLING_S
from loadtests.verdict.knee import Knee, KneeProbe
from loadtests.workers.workers import LoadProgress


@contextlib.contextmanager
def progress_bar(spec: LoadSpec) -> Iterator[Callable[[LoadProgress], None]]:
    """Show seconds of the schedule and live counts on stderr."""
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    ) as bar:
        whole = spec.warmup_s + spec.duration_s
        row = bar.add_task(f"{spec.rate:g} rps, warming up", total=whole, counts="")

        def update(progress: LoadProgress) -> None:
            bar.update(
                row,
                completed=min(progress.elapsed_s + spec.warmup_s, whole),
                description=(
                    f"{spec.rate:g} rps, {'warming up' if progress.elapsed_s < 0 else 'measuring'}"
                ),
                counts=f"{progress.answered} answered, {progress.failed} failed, "
                f"{progress.flying} in flight",
            )

        yield update


def show_conclusion(conclusion: Conclusion, console: Console | None = None) -> None:
    """Print all that is known of a test; the verdict comes last, where the eye is."""
    out = console or Console()
    show(conclusion.report, out)
    if conclusion.drift is not None and conclusion.report.spec.duration_s >= TELLING_S:
        out.print(conclusion.drift.words)
    if conclusion.turns.words:
        out.print(conclusion.turns.words)
    show_repeats(conclusion.repeats, out)
    if conclusion.missing:
        out.print(f"[red]INVALID[/] {conclusion.missing}")
    show_comparison(conclusion.comparison, out)
    show_verdict(conclusion, out)


def show_verdict(conclusion: Conclusion, console: Console | None = None) -> None:
    """Print PASS, FAIL or INVALID across the whole width."""
    runs = f"  of {len(conclusion.runs)} runs" if len(conclusion.runs) > 1 else ""
    show_word(conclusion.verdict, runs, console)


def show_word(verdict: Verdict, of: str = "", console: Console | None = None) -> None:
    """Print a verdict across the whole width."""
    style = "bold white on green" if verdict == "PASS" else "bold white on red"
    (console or Console()).print(Panel(Text(verdict + of, justify="center"), style=style))


def text_of(conclusion: Conclusion) -> str:
    """Return what `show_conclusion` prints, without colours."""
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as captured:
        show_conclusion(conclusion, console)
    return captured.get()


def show(report: LoadReport, console: Console | None = None) -> None:
    """Print the report: rates, latency by route, what failed, and whether it counts."""
    out = console or Console()
    out.print(
        f"rate {report.spec.rate:g}, scheduled {report.requested_rps:.1f} rps, "
        f"offered {report.offered_rps:.1f}, achieved {report.achieved_rps:.1f}, "
        f"goodput {report.goodput_rps:.1f}; "
        f"{report.scheduled} requests, {report.succeeded} answered, {report.failed} failed, "
        f"{report.drops} dropped"
    )
    out.print(_latencies(report))
    if report.reasons:
        out.print("why: " + ", ".join(f"{why} {n}" for why, n in report.reasons.items()))
    if report.failures:
        out.print("failed: " + ", ".join(f"{kind} {n}" for kind, n in report.failures.items()))
    if report.tokens_per_s is not None:
        out.print(f"{report.tokens_per_s:.1f} tokens per second")
    priced = report.succeeded - report.unpriced
    if priced:
        out.print(f"cost ${report.cost_usd:.6f} for {priced} priced answers")
    out.print(
        f"generator: send lag p99 {_ms(report.send_lag_ms.p99)} ms, "
        f"{report.generator_cpu:.0%} of a core"
    )
    if report.reopened:
        out.print(f"{report.reopened} sent again: their idle connection had died")
    if report.cut is not None:
        out.print(f"ended after {report.measured_s:.1f} s: {report.cut.why}")
    for check in report.checks:
        out.print(("[green]PASS[/] " if check.passed else "[red]FAIL[/] ") + check.words)
    for reason in report.invalid_reasons:
        out.print(f"[red]INVALID[/] {reason}")


def _latencies(report: LoadReport) -> Table:
    table = Table(title="milliseconds from the scheduled instant", title_justify="left")
    for name in ("route", "n", *QUANTILES):
        table.add_column(name, justify="left" if name == "route" else "right")
    for route, latency in {**report.latency_ms, **report.streams_ms}.items():
        if latency.n:
            values = (latency.at(name) for name in QUANTILES)
            table.add_row(route, str(latency.n), *(_ms(value) for value in values))
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def show_repeats(repeats: Sequence[Repeat], console: Console | None = None) -> None:
    """Print the runs beside each other; nothing for a single one."""
    if not repeats:
        return
    table = Table(title="runs; above is the one with the middle p99", title_justify="left")
    for name in ("seed", "verdict", "goodput", "p50", "p99", "escalated"):
        table.add_column(name, justify="right")
    for run in repeats:
        asked = "-" if run.escalation_rate is None else f"{run.escalation_rate:.1%}"
        figures = (f"{run.goodput_rps:.1f}", _ms(run.p50_ms), _ms(run.p99_ms), asked)
        table.add_row(str(run.seed), run.verdict, *figures)
    out = console or Console()
    out.print(table)
    for run in repeats:
        if not run.passed:
            out.print(f"seed {run.seed}: {run.why}")


def show_comparison(lines: Sequence[PredictedFigure], console: Console | None = None) -> None:
    """Print predicted beside measured."""
    if not lines:
        return
    table = Table(title="predicted before the run", title_justify="left")
    for name in ("figure", "predicted", "measured", "error"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for line in lines:
        error = "-" if line.error is None else f"{line.error:+.1%}"
        table.add_row(line.name, _figure(line.predicted), _figure(line.measured), error)
    (console or Console()).print(table)


def show_prediction(prediction: RunPrediction, console: Console | None = None) -> None:
    """Print what a run is expected to show."""
    (console or Console()).print(
        f"p50 {prediction.p50_ms:.2f} ms, p99 {prediction.p99_ms:.2f} ms, "
        f"{prediction.achieved_rps:.1f} answers per second, "
        f"{prediction.escalation_rate:.1%} escalated, "
        f"USD {_figure(prediction.usd_per_1k)} per 1,000, router {prediction.router_busy:.0%} busy"
    )


def show_probe(probe: KneeProbe) -> None:
    """Print one rate of a search, on stderr."""
    verdict = f"holds (seed {probe.seed})" if probe.passed else f"does not hold: {probe.why}"
    Console(stderr=True).print(f"{probe.rate:.0f} rps {verdict}")


def show_knee(knee: Knee, console: Console | None = None) -> None:
    """Print the knee and what happens past it."""
    out = console or Console()
    if knee.rate is None:
        lowest = f"{knee.probes[0].rate:g} rps did not hold: {knee.probes[0].why}; "
        out.print(f"There is no knee: {lowest if knee.probes else ''}{knee.words}")
        return
    out.print(
        f"The knee is at {knee.rate:.0f} requests per second, held in {knee.confirmed} runs; "
        f"{knee.words}."
    )
    if knee.limited_by_generator:
        out.print("[red]It is the generator's limit, not the server's.[/]")
    for probe in knee.past:
        out.print(
            f"At {probe.rate:.0f} rps, {probe.rate / knee.rate:.1f} times the knee: goodput "
            f"{probe.goodput_rps:.0f} per second, {probe.failure_rate:.1%} failed"
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"
