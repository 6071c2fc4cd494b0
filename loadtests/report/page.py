"""A load test as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from costmodel.report.page import Headline, Page
from loadtests.figures.latency import LatencySummary
from loadtests.figures.load_report import LoadReport
from loadtests.inputs.percentiles import QUANTILES
from loadtests.report import plots as figures
from loadtests.verdict.conclusion import Conclusion
from loadtests.verdict.drift import TELLING_S

MEANING = {
    "PASS": "The run counts and every limit was kept.",
    "FAIL": "The run counts and a limit was not kept.",
    "INVALID": "The run does not count: nothing is said of the target.",
}


def page_of(conclusion: Conclusion) -> Page:
    """Lay out the verdict, the figures and the plots of a run."""
    report = conclusion.report
    page = Page(
        f"Load test: {conclusion.scenario}",
        f"{conclusion.about} {report.spec.rate:g} rps, {report.spec.arrivals} arrivals, "
        f"{report.spec.shape.kind}, {report.spec.duration_s:g} s on {report.spec.surface}.",
    )
    page.facts(
        [
            ("measured", f"{datetime.fromisoformat(conclusion.at):%Y-%m-%d %H:%M %Z}"),
            ("target", conclusion.target or report.spec.url),
            ("teacher", conclusion.teacher or "not told"),
            ("raisehand", _raisehand(conclusion)),
            ("machine", conclusion.versions.get("machine", "not told")),
        ]
    )
    _verdict(page, conclusion)
    _latency(page, report)
    page.heading("Over time")
    _over_time(page, report, conclusion.outages)
    _repeats(page, conclusion)
    _prediction(page, conclusion)
    _conditions(page, conclusion)
    return page


def _over_time(page: Page, report: LoadReport, outages: figures.Outages) -> None:
    """One figure for each question; a teacher that was made to fail is shaded in all of them."""
    page.figure(
        lambda narrow: figures.rates_over_time(report, outages, narrow=narrow),
        "Requests per second: asked for and sent; answered, and answered well.",
        f"Requested {report.requested_rps:.0f}, achieved {report.achieved_rps:.0f} on average.",
    )
    page.figure(
        lambda narrow: figures.latency_over_time(report, outages, narrow=narrow),
        "Latency of what was due in each interval; a gap had too few answers for it.",
        "Percentiles over time on a log scale.",
    )
    if report.escalation_rate is not None:
        page.figure(
            lambda narrow: figures.routes_over_time(report, outages, narrow=narrow),
            "Answers that the student did not give, and what a thousand requests cost.",
            f"Escalation is {report.escalation_rate:.1%} on average.",
        )
    if report.usage:
        page.figure(
            lambda narrow: figures.server_usage(report, outages, narrow=narrow),
            "The server's processes.",
            f"Up to {max(u.cpu for u in report.usage):.2f} cores.",
        )


def _raisehand(conclusion: Conclusion) -> str:
    """Its version and commit."""
    known = conclusion.versions
    words = [
        known.get("raisehand", "not told"),
        f"commit {known['commit']}" if "commit" in known else "",
    ]
    return ", ".join(word for word in words if word)


def _verdict(page: Page, conclusion: Conclusion) -> None:
    report = conclusion.report
    p99 = report.latency_ms["all"].p99
    several = len(conclusion.runs) > 1
    page.verdict(
        conclusion.verdict,
        f"{MEANING[conclusion.verdict]} {len(conclusion.runs)} runs, all of which have to pass."
        if several
        else MEANING[conclusion.verdict],
        "good" if conclusion.passed else "bad",
    )
    page.headlines(
        [
            Headline(
                f"{report.goodput_rps:.1f} rps",
                "goodput",
                f"answered, not degraded, within {report.spec.deadline_ms:g} ms",
            ),
            Headline(
                f"{report.achieved_rps:.1f} rps", "achieved", f"{report.offered_rps:.1f} offered"
            ),
            Headline("-" if p99 is None else f"{p99:.1f} ms", "p99", f"n = {report.scheduled:,}"),
            Headline(f"{report.failure_rate:.2%}", "failed", f"{report.drops} dropped"),
        ]
    )
    if report.cut is not None:
        page.paragraph(f"Ended after {report.measured_s:.1f} s: {report.cut.why}", "bad")
    if conclusion.missing:
        page.paragraph(f"INVALID: {conclusion.missing}", "bad")
    for run in conclusion.runs:
        whose = f"seed {run.seed}, " if several else ""
        for reason in run.invalid_reasons:
            page.paragraph(f"{whose}INVALID: {reason}", "bad")
        for check in run.checks:
            page.paragraph(
                f"{whose}{'PASS' if check.passed else 'FAIL'}: {check.words}",
                "good" if check.passed else "bad",
            )


def _latency(page: Page, report: LoadReport) -> None:
    page.heading("Latency")
    _latencies(
        page,
        {route: latency for route, latency in report.latency_ms.items() if latency.n},
        "Milliseconds from the scheduled instant. In all, a failed request is later than any.",
    )
    if report.cdf_ms:
        page.figure(
            lambda narrow: figures.cumulative_latency(report, narrow=narrow),
            "Share of the answers up to each latency.",
            "Cumulative latency by route.",
        )
    if report.streams_ms:
        together = f"{report.tokens_per_s or 0:.1f} tokens per second together."
        _latencies(page, report.streams_ms, f"Streams, ms; {together}")
    if report.stages_ms:
        page.figure(
            lambda narrow: figures.stages(report, narrow=narrow),
            "Where the time goes, from the median to the p99, as the server says (Server-Timing); "
            "rest is HTTP, network and waiting to be sent.",
            "Stages of an answer.",
        )
        _latencies(page, report.stages_ms, "Stages, ms")


def _latencies(page: Page, latencies: Mapping[str, LatencySummary], caption: str) -> None:
    """One row each; a percentile that no sample carries has no column."""
    shown = [q for q in QUANTILES if any(one.at(q) is not None for one in latencies.values())]
    rows = [
        (name, latency.n, *(latency.at(q) for q in shown)) for name, latency in latencies.items()
    ]
    page.table(("", "n", *shown), rows, caption)


def _repeats(page: Page, conclusion: Conclusion) -> None:
    if conclusion.repeats:
        page.heading("Runs")
        page.table(
            ("seed", "verdict", "goodput", "p50", "p99", "escalated"),
            [
                (
                    str(run.seed),
                    run.verdict if run.passed else f"{run.verdict}: {run.why}",
                    run.goodput_rps,
                    run.p50_ms,
                    run.p99_ms,
                    "-" if run.escalation_rate is None else f"{run.escalation_rate:.1%}",
                )
                for run in conclusion.repeats
            ],
            "They differ in their seed alone; all else here is of the one with the middle p99.",
        )


def _prediction(page: Page, conclusion: Conclusion) -> None:
    if conclusion.comparison:
        page.heading("Predicted and measured")
        page.table(
            ("figure", "predicted", "measured", "error"),
            [
                (line.name, line.predicted, line.measured, _percent(line.error))
                for line in conclusion.comparison
            ],
            "Predicted before the run, from a profile that was fitted on another load.",
        )


def _conditions(page: Page, conclusion: Conclusion) -> None:
    report = conclusion.report
    page.heading("Conditions")
    spec = report.spec
    rows: list[tuple[str, object]] = [
        ("in flight at most, a process", str(spec.concurrency)),
        ("generator processes", str(spec.processes)),
        ("time-out, s", f"{spec.timeout_s:g}"),
        ("warm-up, s", f"{spec.warmup_s:g}"),
        ("send lag p99, ms", report.send_lag_ms.p99),
        ("generator, of a core", f"{report.generator_cpu:.1%}"),
        ("distinct inputs", report.distinct_inputs),
        ("sent again, the idle connection had died", report.reopened),
        ("cost, USD", f"{report.cost_usd:.6f}"),
        ("unpriced answers", report.unpriced),
        ("seed", str(report.spec.seed)),
    ]
    null = conclusion.null_server
    if null is not None:
        rows.append(
            (
                "null server",
                f"{null.rate:g} rps: send lag p99 {null.send_lag_p99_ms:.2f} ms, "
                f"{null.generator_cpu:.0%} of a core, {'passed' if null.passed else 'FAILED'}",
            )
        )
    if conclusion.drift is not None and report.spec.duration_s >= TELLING_S:
        rows.append(("from beginning to end", conclusion.drift.words))
    if conclusion.turns.words:
        rows.append(("where it turned", conclusion.turns.words))
    said = ("raisehand", "commit", "machine")
    rows += [(name, value) for name, value in conclusion.versions.items() if name not in said]
    page.table(("what", "value"), rows, "How it was measured.")


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:+.1%}"
