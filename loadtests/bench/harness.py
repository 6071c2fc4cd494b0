"""`raisehand bench harness`: how much one core of the load generator can send, and be believed."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from loadtests.report.figures_of_run import LoadReport

TEXTS = 2000
BACK_OFF = 0.93
"""A rate that held once and not in every repeat is above the limit."""


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
    from loadtests.generator.workers import run_load
    from loadtests.inputs.spec import LoadSpec
    from loadtests.report.terminal import show_probe
    from loadtests.verdict.conclusion import versions
    from loadtests.verdict.generator_limit import CLAIM_SHARE, remember
    from loadtests.verdict.knee import find_knee
    from loadtests.verdict.null_check import null_server
    from loadtests.verdict.slo import Slo

    with tempfile.TemporaryDirectory() as folder, null_server() as url:
        inputs = Path(folder) / "texts.csv"
        _write_texts(inputs)
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

        knee = find_knee(spec, run, told=show_probe)
        if knee.rate is None:
            raise click.ClickException(
                f"even {start:g} rps could not be sent on time on this machine now: "
                f"{knee.probes[0].why}"
            )
        rate, tried = knee.rate, 1
        while True:
            again = [run(spec.model_copy(update={"rate": rate, "seed": k})) for k in range(runs)]
            if all(report.passed for report in again):
                break
            if rate * BACK_OFF < start:
                raise click.ClickException(
                    f"no rate above {start:g} rps held in {runs} repeats; the machine is too noisy"
                )
            rate, tried = rate * BACK_OFF, tried + 1
    remember(rate)
    figures = {
        "rps_per_core": round(rate, 1),
        "claim_limit_rps": round(CLAIM_SHARE * rate, 1),
        "send_lag_p99_ms": [report.send_lag_ms.p99 for report in again],
        "generator_cpu": [round(report.generator_cpu, 3) for report in again],
        "runs_that_held": f"{runs} of {runs}",
        "held_once_rps": round(knee.rate, 1),
        "rates_repeated": tried,
        "seconds": seconds,
        "versions": versions(),
    }
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(
        f"One process sends {rate:.0f} requests per second on time, in each of {runs} repeats. "
        f"Nothing is claimed above {CLAIM_SHARE * rate:.0f} per process."
    )


def _write_texts(path: Path) -> None:
    """Texts of 5 to 60 words, all different."""
    words = ("water", "food", "road", "bridge", "help", "tent", "news", "thanks", "storm", "rain")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        for i in range(TEXTS):
            writer.writerow([f"{i} " + " ".join(words[(i * k) % 10] for k in range(5 + i % 56))])
