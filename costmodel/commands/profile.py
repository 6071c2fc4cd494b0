"""`raisehand profile`: measure a running router, so that its loads can be predicted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.errors import BadProfile
from costmodel.extras import require

if TYPE_CHECKING:
    from costmodel.fit.measured import MeasuredRun
    from costmodel.fit.router_profile import RouterProfile


@click.command(
    epilog="Example: raisehand profile --url http://127.0.0.1:8080 --inputs data.csv --text text "
    "--rates 50,400,1200 --out profile.json"
)
@click.option("--url", help="The running router, e.g. http://127.0.0.1:8080.")
@click.option("--inputs", type=click.Path(path_type=Path), help="A table of real inputs.")
@click.option("--text", default="text", show_default=True, help="Column that holds the text.")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the inputs.")
@click.option("--delimiter", help="Of a .csv, e.g. ; or tab; default: found in its header.")
@click.option(
    "--rates", default="50,400,1200", show_default=True,
    help="Requests per second to measure at: one nearly idle, one near the highest load asked of.",
)  # fmt: skip
@click.option("--duration", default=15.0, show_default=True, help="Seconds of each measurement.")
@click.option("--workers", default=1, show_default=True, help="Worker processes of the router.")
@click.option("--max-concurrency", type=int, help="The router's slots; default: its own, 8.")
@click.option("--hedge", is_flag=True, help="The router asks twice when the teacher is late.")
@click.option("--seed", default=0, show_default=True, help="Fixes arrivals and order of texts.")
@click.option("--samples", "given", multiple=True, metavar="RATE:SECONDS:FILE",
              help="Fit on load tests already made (--samples of raisehand loadtest).")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the profile (JSON).")
@click.option("--predict", "at", type=float, multiple=True, help="Also predict this rate.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def profile(
    url: str | None, inputs: Path | None, text: str, encoding: str, delimiter: str | None,
    rates: str, duration: float, workers: int, max_concurrency: int | None, hedge: bool, seed: int,
    given: tuple[str, ...], out: Path | None, at: tuple[float, ...], as_json: bool,
) -> None:  # fmt: skip
    """Measure a running router at a few rates and fit what the simulator needs.

    The student's service time comes from how latency grows with the rate, the teacher's from the
    escalated requests. Escalations are real: they cost what the teacher costs.
    """
    from costmodel.fit.fitting import fit
    from costmodel.fit.measured import read_samples
    from costmodel.inputs.asking import SLOTS

    runs = [_given(item) for item in given]
    if not runs:
        if url is None or inputs is None:
            raise click.UsageError("give --url and --inputs to measure, or --samples to fit on")
        require("loadtests")
        source = ["--inputs", str(inputs), "--text", text, "--encoding", encoding]
        source += ["--delimiter", delimiter] if delimiter else []
        with tempfile.TemporaryDirectory() as folder:
            for rate in _rates(rates):
                path = Path(folder) / f"{rate:g}.jsonl"
                click.echo(f"measuring {rate:g} requests/s for {duration:g} s", err=True)
                doubts = _load(url, source, rate, duration, seed, path)
                for doubt in doubts:
                    click.echo(f"at {rate:g}/s this does not count: {doubt}", err=True)
                runs.append(read_samples(path, rate, duration, doubts))
    fitted = fit(runs, workers=workers, max_concurrency=max_concurrency or SLOTS, hedge=hedge)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(fitted.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if as_json:
        click.echo(fitted.model_dump_json(indent=2))
        return
    click.echo(
        f"service {fitted.service_s * 1e3:.3f} ms a request (cv {fitted.service_cv:.2f}): one "
        f"worker carries at most {1 / max(fitted.service_s, 1e-9):,.0f} requests/s\n"
        f"escalation {fitted.escalation_rate:.1%} of {fitted.requests:,} requests"
    )
    for run in fitted.fitted_on:
        pairs = zip(("p50", "p90", "p99"), run.student_ms, run.fitted_ms, strict=True)
        words = ", ".join(f"{name} {seen:.2f} → {back:.2f} ms" for name, seen, back in pairs)
        click.echo(f"student at {run.per_second:g}/s, measured → fitted: {words}")
    for rate in at:
        click.echo(_predicted(fitted, rate, duration))


def _predicted(fitted: RouterProfile, rate: float, duration: float) -> str:
    from costmodel.fit.prediction import predict
    from costmodel.inputs.workload import Workload

    seen = predict(fitted, Workload(per_second=rate), duration)
    cost = f"${seen.usd_per_1k.mean:.4f} per 1,000" if seen.usd_per_1k else "cost unpriced"
    beyond = "; beyond every measured rate" if seen.extrapolated else ""
    return (
        f"predicted at {rate:g}/s: p50 {seen.p50_s.mean * 1e3:.2f} ms, "
        f"p99 {seen.p99_s.mean * 1e3:.2f} ms "
        f"({seen.p99_s.low * 1e3:.2f} to {seen.p99_s.high * 1e3:.2f}), "
        f"{seen.answered_per_s.mean:,.0f} answered/s, {cost}{beyond}"
    )


def _rates(text: str) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if len(rates) < 2 or min(rates) <= 0:
        raise click.BadParameter(
            f"{text!r}; give two or more rates above 0, e.g. 50,400,1200", param_hint="--rates"
        )
    return sorted(rates)


def _given(item: str) -> MeasuredRun:
    from costmodel.fit.measured import read_samples

    rate, _, rest = item.partition(":")
    seconds, _, path = rest.partition(":")
    try:
        told = float(rate), float(seconds)
    except ValueError:
        raise click.BadParameter(
            f"{item!r}; write RATE:SECONDS:FILE, e.g. 50:15:idle.jsonl", param_hint="--samples"
        ) from None
    if not Path(path).is_file():
        raise BadProfile(f"samples {path!r} are not there; write them with loadtest --samples")
    return read_samples(Path(path), *told)


def _load(
    url: str, source: list[str], rate: float, duration: float, seed: int, samples: Path
) -> list[str]:
    """Run one load test by its command (this package imports no client); return its doubts."""
    command = [str(Path(sys.executable).with_name("raisehand")), "loadtest", "--url", url]
    command += [
        *source,
        "--rate",
        f"{rate:g}",
        "--duration",
        f"{duration:g}",
        "--seed",
        str(seed),
        "--samples",
        str(samples),
    ]
    report = samples.with_suffix(".json")
    command += ["--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not samples.exists() or not report.exists():
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BadProfile(
            f"the load test at {rate:g}/s failed: {words[-1] if words else json.dumps(command)}"
        )
    told = json.loads(report.read_text(encoding="utf-8"))
    reasons: list[str] = told["report"]["invalid_reasons"]
    return reasons
