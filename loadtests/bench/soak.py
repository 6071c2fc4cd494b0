"""`raisehand bench soak`: does a router that runs for long stay as it was after warming up?"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import chat_spec, drive
from loadtests.bench.options import CLIENT_CORE, CORE
from router.bench.process import python_subject, take_client_core

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadReport
    from router.bench.process import Subject

WARM_UP = 0.25
"""Share of the run that is left out: allocators and caches fill up first."""
CLOSED_S = 1.0
"""After so long the connections of the load are gone from the router's descriptors, too."""
MAX_MB_PER_HOUR = 1.0
MAX_MORE_DESCRIPTORS = 10
MAX_REFUSED = 0.001
"""Share of the requests that may meet a 429: a machine that pauses for 0.1 s has a full router."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A straight line through samples, with the interval of its slope."""

    per_hour: float
    low: float
    high: float


@dataclass
class Samples:
    """What was read from the process once a second, and what clients felt by interval."""

    seconds: list[float]
    resident_mb: list[float]
    descriptors: Sequence[int]
    """Before and after the load, without its connections."""
    at_s: list[float]
    """Of the intervals."""
    p50_ms: list[float]
    p99_ms: list[float]
    answers: Counter[str] = field(default_factory=Counter)
    """`ok`, or the kind of failure; `dropped` was not sent."""
    doubts: tuple[str, ...] = ()
    """Why the generator's figures do not count."""


@click.command(epilog="Example: raisehand bench soak --minutes 30 --rate 2000 --json")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0.05))
@click.option("--rate", default=2_000.0, show_default=True, help="Requests a second, open loop.")
@click.option(
    "--threshold", default=0.0, show_default=True, help="Below this confidence: the teacher."
)
@CORE
@CLIENT_CORE
@JSON
@click.pass_context
def soak(
    context: click.Context,
    minutes: float,
    rate: float,
    threshold: float,
    core: int,
    client_core: int,
    as_json: bool,
) -> None:
    """Load a router for long and watch its memory, descriptors and latency.

    Exit code 1 when memory surely grows (the whole 95 % interval of the slope is above 1 MiB an
    hour), descriptors leak, a request fails, or over 0.1 % are refused.
    """
    take_client_core(core, client_core)
    report = measure_soak(minutes, rate, threshold, core)
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))
    context.exit(0 if report["passed"] else 1)


def measure_soak(minutes: float, rate: float, threshold: float, core: int) -> dict[str, Any]:
    """Load a router on `core` and judge it."""
    threshold_of = ("--threshold", str(threshold))
    with python_subject("router.bench.servers.target", core, *threshold_of) as subject:
        before = _descriptors(subject)
        report = _load(subject, minutes * 60.0, rate)
        time.sleep(CLOSED_S)
        samples = samples_of(report, [before, _descriptors(subject)])
    return judge(samples) | {"minutes": minutes, "rate": rate}


def judge(samples: Samples) -> dict[str, Any]:
    """Turn samples into a verdict."""
    first = int(WARM_UP * len(samples.seconds))
    memory = slope_of(samples.seconds[first:], samples.resident_mb[first:])
    total = sum(samples.answers.values())
    refused = samples.answers["http_429"]
    failed = total - samples.answers["ok"] - refused
    quarter = int(WARM_UP * len(samples.at_s))
    p50, p99 = samples.p50_ms[quarter:], samples.p99_ms[quarter:]
    more = samples.descriptors[-1] - samples.descriptors[0]
    return {
        "passed": memory.low <= MAX_MB_PER_HOUR
        and more <= MAX_MORE_DESCRIPTORS
        and refused <= MAX_REFUSED * total
        and not failed,
        "requests": total,
        "refused": refused,
        "failed": failed,
        "resident_mb": [samples.resident_mb[first], samples.resident_mb[-1]],
        "resident_mb_per_hour": memory.per_hour,
        "resident_mb_per_hour_95": [memory.low, memory.high],
        "descriptors": [samples.descriptors[0], samples.descriptors[-1]],
        "p50_ms": _ends(p50),
        "p99_ms": _ends(p99),
        "p99_ms_per_hour": slope_of(samples.at_s[quarter:], p99).per_hour,
        "p99_ms_worst_interval": max(p99, default=None),
        "samples": len(samples.seconds) - first,
        "doubts": list(samples.doubts),
    }


def _ends(values: Sequence[float]) -> list[float]:
    """Medians of the first and of the last quarter: one slow interval is no drift."""
    if not values:
        return []
    quarter = max(1, len(values) // 4)
    return [round(median(values[:quarter]), 2), round(median(values[-quarter:]), 2)]


def slope_of(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line by Theil and Sen: the median of all pairwise slopes, robust to single jumps.

    The interval is Sen's, at 95 %.
    """
    from scipy.stats import theilslopes

    if len(seconds) < 2:
        return Slope(0.0, 0.0, 0.0)
    slope, _, low, high = theilslopes(values, [s / 3600.0 for s in seconds], 0.95)
    return Slope(*(round(float(value), 3) for value in (slope, low, high)))


def _load(subject: Subject, seconds: float, rate: float) -> LoadReport:
    """Load in one open loop, whose workers keep no request for long."""
    from loadtests.verdict.generator_limit import trusted

    with TemporaryDirectory() as folder:
        driven = drive([subject], chat_spec(Path(folder)), rate=rate, duration_s=seconds)
    return trusted(driven.report)


def _descriptors(subject: Subject) -> int:
    return len(list(Path(f"/proc/{subject.pid}/fd").iterdir()))


def samples_of(report: LoadReport, descriptors: Sequence[int]) -> Samples:
    """Take from a load test's report what a soak judges."""
    usage = [u for u in report.usage if 0 <= u.at_s <= report.measured_s]
    told = [i for i in report.intervals if i.p50_ms is not None and i.p99_ms is not None]
    answers = Counter(report.failures) + Counter(ok=report.succeeded, dropped=report.drops)
    return Samples(
        seconds=[u.at_s for u in usage],
        resident_mb=[round(u.rss_mb * 1e6 / 2**20, 2) for u in usage],
        descriptors=descriptors,
        at_s=[i.at_s for i in told],
        p50_ms=[i.p50_ms or 0.0 for i in told],
        p99_ms=[i.p99_ms or 0.0 for i in told],
        answers=answers,
        doubts=report.invalid_reasons,
    )


def _words(report: dict[str, Any]) -> str:
    low, high = report["resident_mb_per_hour_95"]
    return "\n".join(
        [
            f"{'Passed' if report['passed'] else 'FAILED'}: {report['minutes']:g} minutes at "
            f"{report['rate']:g} requests/s, {report['refused']} of {report['requests']:,} "
            f"refused, {report['failed']} failed",
            f"memory {report['resident_mb'][0]:g} → {report['resident_mb'][1]:g} MiB, slope "
            f"{report['resident_mb_per_hour']:g} MiB an hour (95 %: {low:g} to {high:g})",
            f"descriptors {report['descriptors'][0]} → {report['descriptors'][1]}",
            f"p50 {_ends_of(report['p50_ms'])} ms, p99 {_ends_of(report['p99_ms'])} ms "
            f"(worst interval {_ends_of([report['p99_ms_worst_interval']])} ms)",
            *report["doubts"],
        ]
    )


def _ends_of(found: Sequence[float | None]) -> str:
    """A run of few requests a second has intervals that carry no p99."""
    return " → ".join("–" if value is None else f"{value:g}" for value in found) or "–"
