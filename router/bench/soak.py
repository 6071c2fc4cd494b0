"""`raisehand bench soak`: does a router that runs for long stay as it was after warming up?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from router.bench.process import Subject

WARM_UP = 0.25
"""Share of the run that is left out: allocators and caches fill up first."""
SLICE_S = 5.0
"""Less than the time a router gives a new connection to say something: some are never needed."""
CLOSED_S = 0.2
"""After so long the connections of a slice are gone from the router's descriptors, too."""
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
    """What was read from the process after each slice of load."""

    seconds: list[float]
    resident_mb: list[float]
    descriptors: list[int]
    p50_ms: list[float]
    p99_ms: list[float]
    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status; 0 is a request that got none."""


@click.command(epilog="Example: raisehand bench soak --minutes 30 --rate 2000 --json")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0.05))
@click.option("--rate", default=2_000.0, show_default=True, help="Requests a second, open loop.")
@click.option(
    "--threshold", default=0.0, show_default=True, help="Below this confidence: the teacher."
)
@click.option("--core", default=0, show_default=True, help="Core of the router.")
@click.option("--client-core", default=1, show_default=True, help="Core of the load generator.")
@click.option("--json", "as_json", is_flag=True)
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
    import json

    import uvloop

    from router.bench.process import python_subject, take_client_core

    take_client_core(core, client_core)
    with python_subject(
        "router.bench.servers.target", core, "--threshold", str(threshold)
    ) as subject:
        samples = uvloop.run(_load(subject, minutes * 60.0, rate))
    report = judge(samples) | {"minutes": minutes, "rate": rate}
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))
    context.exit(0 if report["passed"] else 1)


def judge(samples: Samples) -> dict[str, Any]:
    """Turn samples into a verdict."""
    first = int(WARM_UP * len(samples.seconds))
    memory = slope_of(samples.seconds[first:], samples.resident_mb[first:])
    total = sum(samples.answers.values())
    refused = samples.answers[429]
    failed = total - samples.answers[200] - refused
    more = samples.descriptors[-1] - samples.descriptors[first]
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
        "descriptors": [samples.descriptors[first], samples.descriptors[-1]],
        "p50_ms": _ends(samples.p50_ms[first:]),
        "p99_ms": _ends(samples.p99_ms[first:]),
        "p99_ms_per_hour": slope_of(samples.seconds[first:], samples.p99_ms[first:]).per_hour,
        "p99_ms_worst_slice": max(samples.p99_ms[first:]),
        "samples": len(samples.seconds) - first,
    }


def _ends(values: Sequence[float]) -> list[float]:
    """Medians of the first and of the last quarter: one slow slice is no drift."""
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


async def _load(subject: Subject, seconds: float, rate: float) -> Samples:
    """Load in slices, so that nothing per request is kept for long; sample after each."""
    import asyncio
    import time

    from rich.progress import Progress

    from router.bench.load import open_loop
    from router.bench.router import chat_requests

    samples = Samples([], [], [], [], [])
    slice_s = min(SLICE_S, seconds / 12.0)
    started = time.monotonic()
    with Progress(transient=True) as progress:
        bar = progress.add_task("soak", total=seconds)
        while (spent := time.monotonic() - started) < seconds:
            tally = await open_loop(
                subject.port, chat_requests(), rate=rate, seconds=slice_s, connections=512,
                seed=int(spent),
            )  # fmt: skip
            samples.answers += tally.statuses + Counter({0: tally.unsent})
            await asyncio.sleep(CLOSED_S)
            samples.seconds.append(time.monotonic() - started)
            samples.resident_mb.append(round(subject.resident_mb(), 2))
            samples.descriptors.append(len(list(Path(f"/proc/{subject.pid}/fd").iterdir())))
            samples.p50_ms.append(round(tally.quantile_ms(0.5), 2))
            samples.p99_ms.append(round(tally.quantile_ms(0.99), 2))
            progress.update(bar, completed=time.monotonic() - started)
    return samples


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
            f"p50 {report['p50_ms'][0]:g} → {report['p50_ms'][1]:g} ms, "
            f"p99 {report['p99_ms'][0]:g} → {report['p99_ms'][1]:g} ms (worst slice "
            f"{report['p99_ms_worst_slice']:g} ms)",
        ]
    )
