"""`raisehand bench harness`: how much one core of the load generator can send, and be believed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loadtests.bench.driving import write_texts

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadReport

TEXTS = 2000


@click.command(name="harness", epilog="Example: raisehand bench harness --json")
@click.option("--start", default=1000.0, show_default=True, help="First rate that is tried.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each rate.")
@click.option("--runs", default=3, show_default=True, help="Runs at the limit, for the spread.")
@click.option("--max-send-lag-ms", default=5.0, show_default=True, help="The p99 that counts.")
@click.option("--json", "as_json", is_flag=True)
def harness(start: float, seconds: float, runs: int, max_send_lag_ms: float, as_json: bool) -> None:
    """Find the highest open-loop rate of one process against a server that does nothing.

    A rate counts when, in every repeat, the p99 of the send lag stays below the limit and every
    request is sent and answered. It is remembered for this machine: a load test that asks more than
    70 % of it of one process is INVALID.
    """
    figures = measure_harness(start, seconds, runs, max_send_lag_ms)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(
        f"One process sends {figures['rps_per_core']:.0f} requests per second on time, in each of "
        f"{runs} repeats. Nothing is claimed above {figures['claim_limit_rps']:.0f} per process. "
        f"At its limit a request costs {figures['cpu_us']:g} µs of its core, "
        f"{figures['event_us']:g} of them for Locust's event and statistics."
    )


def measure_harness(
    start: float, seconds: float, runs: int, max_send_lag_ms: float
) -> dict[str, Any]:
    """Search the generator's limit, remember it, and say what a request costs.

    Raises:
        click.ClickException: no rate could be sent on time.
    """
    from loadtests.bench.event_price import event_price
    from loadtests.inputs.slo import Slo
    from loadtests.inputs.spec import LoadSpec
    from loadtests.report.terminal import show_probe
    from loadtests.verdict.conclusion import versions
    from loadtests.verdict.generator_limit import CLAIM_SHARE, remember
    from loadtests.verdict.knee import KneeSearch
    from loadtests.verdict.null_check import null_server
    from loadtests.workers.workers import run_load

    with tempfile.TemporaryDirectory() as folder, null_server() as url:
        inputs = write_texts(Path(folder) / "texts.csv", _texts())
        spec = LoadSpec(
            url=url,
            inputs=inputs,
            rate=start,
            duration_s=seconds,
            warmup_s=1.0,
            max_send_lag_ms=max_send_lag_ms,
            max_generator_cpu=1.0,
            concurrency=10_000,
        )

        def run(each: LoadSpec) -> LoadReport:
            return run_load(each, Slo(max_failure_rate=0))

        found = KneeSearch(spec, run, repeats=runs, told=show_probe).find()
        price = event_price(url, inputs)
    if found.rate is None:
        raise click.ClickException(
            f"no rate from {start:g} rps downwards could be sent on time in {runs} repeats on "
            f"this machine now: {found.probes[0].why}"
        )
    rate = found.rate
    again = [p for p in found.probes if p.passed and p.rate == rate]
    remember(rate)
    return {
        "rps_per_core": round(rate, 1),
        "claim_limit_rps": round(CLAIM_SHARE * rate, 1),
        "send_lag_p99_ms": [probe.send_lag_p99_ms for probe in again],
        "generator_cpu": [round(probe.generator_cpu or 0.0, 3) for probe in again],
        "runs_that_held": f"{found.confirmed} of {runs}",
        "held_once_rps": round(max(p.rate for p in found.probes if p.passed), 1),
        "ended_by": found.ended_by,
        "cpu_us": price.with_event,
        "event_us": round(price.with_event - price.without, 1),
        "seconds": seconds,
        "versions": versions(),
    }


def _texts() -> Iterator[str]:
    """Texts of 5 to 60 words, all different."""
    words = ("water", "food", "road", "bridge", "help", "tent", "news", "thanks", "storm", "rain")
    for i in range(TEXTS):
        yield f"{i} " + " ".join(words[(i * k) % 10] for k in range(5 + i % 56))
