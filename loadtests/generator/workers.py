"""THE STORY of one load test: lay out → try the target → start Locust → release → merge → judge.

Locust patches the whole process when it is imported, so it runs in processes of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.errors import GeneratorFailed
from loadtests.generator.own_cpu import Usage, Watch
from loadtests.generator.plan import DIRECTORY_VARIABLE, WORKER_VARIABLE, Plan
from loadtests.generator.schedule import lay_out
from loadtests.generator.tallies import Tally, interval_s
from loadtests.inputs.difficulty import mix
from loadtests.inputs.rows import rows_of
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.target import try_target
from loadtests.report.figures_of_run import DEFAULT_SLO, LoadReport, report_of
from loadtests.verdict.slo import Slo

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
STARTUP_S = 120.0
GRACE_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running load test is; `elapsed_s` is negative during the warm-up."""

    elapsed_s: float
    answered: int = 0
    failed: int = 0
    dropped: int = 0
    flying: int = 0


def run_load(
    spec: LoadSpec,
    slo: Slo = DEFAULT_SLO,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    at_start: Callable[[], None] = lambda: None,
) -> LoadReport:
    """Run one load test and report it; takes warm-up + duration + a few seconds.

    `at_start` is called once, when the measured window begins.

    Raises:
        BadRows: the inputs cannot be read.
        DeadTarget: the target does not answer one request before the test.
        GeneratorFailed: a Locust process died; nothing is reported from a broken generator.
    """
    tally, usage = measure(spec, progress=progress, at_start=at_start)
    return report_of(spec, tally, slo, usage)


def measure(
    spec: LoadSpec,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    at_start: Callable[[], None] = lambda: None,
) -> tuple[Tally, tuple[Usage, ...]]:
    """Run one load test; return the merged counts of its workers and what the server used."""
    spec = spec.model_copy(update={"inputs": spec.inputs.resolve()})
    rows = rows_of(spec)
    schedule = lay_out(spec, rows)
    tried_usd = try_target(spec, rows[0].text)
    mixed = mix(spec, rows, schedule.rows)
    schedule = replace(schedule, rows=mixed.rows)
    with tempfile.TemporaryDirectory(prefix="raisehand-load-") as name:
        plans = [Plan(Path(name), worker) for worker in range(spec.processes)]
        plans[0].write_spec(spec)
        plans[0].write_schedule(schedule)
        with _workers(plans) as workers, Watch(spec.url) as watch:
            _wait(workers, plans, STARTUP_S, lambda: all(plan.is_ready for plan in plans))
            start = time.monotonic() + spec.warmup_s + 0.2
            plans[0].write_start(start)
            _wait(
                workers, plans, spec.warmup_s + GRACE_S, lambda: _tell(progress, plans, start) >= 0
            )
            at_start()
            _wait(
                workers,
                plans,
                spec.warmup_s + spec.duration_s + spec.timeout_s + GRACE_S,
                lambda: (
                    _tell(progress, plans, start) > 0
                    and all(plan.read_result() is not None for plan in plans)
                ),
            )
        tally = Tally(interval_s(spec))
        for plan in plans:
            result = plan.read_result()
            assert result is not None
            tally.add(result)
        if spec.samples is not None:
            _merge_samples(plans, spec.samples)
    tally.unmeasured_sent += 1 + mixed.asked
    tally.unmeasured_usd += (tried_usd or 0) + mixed.usd
    return tally, watch.usage(start)


@contextlib.contextmanager
def _workers(plans: Sequence[Plan]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One headless Locust process per plan; all of them are gone afterwards."""
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for plan in plans:
            environment = {
                **os.environ,
                DIRECTORY_VARIABLE: str(plan.directory),
                WORKER_VARIABLE: str(plan.worker),
            }
            with _stderr_of(plan).open("wb") as stderr:
                workers.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE)),
                            *("--headless", "--users", "1", "--host", "unused", "--skip-log-setup"),
                            *("--only-summary", "--exit-code-on-error", "0"),
                        ],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=stderr,
                    )
                )
        yield workers
    finally:
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(timeout=0 if sys.exc_info()[0] else 5)
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def _wait(
    workers: Sequence[subprocess.Popen[bytes]],
    plans: Sequence[Plan],
    limit_s: float,
    done: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        for plan, worker in zip(plans, workers, strict=True):
            if worker.poll() is not None and plan.read_result() is None:
                raise GeneratorFailed(_obituary(plan, worker))
        if time.monotonic() > deadline:
            raise GeneratorFailed(
                f"the load generator did not get ready or finish within {limit_s:.0f} s; "
                "the machine may be overloaded, try a lower rate"
            )
        time.sleep(POLL_S)


def _obituary(plan: Plan, worker: subprocess.Popen[bytes]) -> str:
    code = worker.returncode
    cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines = _stderr_of(plan).read_text(errors="replace").strip().splitlines()
    last = f": {lines[-1].strip()}" if lines else ""
    return (
        f"load generator process {plan.worker} {cause} before it was done{last}; "
        "the run does not count, start it again"
    )


def _stderr_of(plan: Plan) -> Path:
    return plan.directory / f"stderr-{plan.worker}.txt"


def _tell(progress: Callable[[Progress], None], plans: Sequence[Plan], start: float) -> float:
    """Pass on how far the workers are; return the seconds since the window began."""
    elapsed_s = time.monotonic() - start
    counts = [plan.read_progress() for plan in plans]
    totals = {name: sum(c.get(name, 0) for c in counts) for name in counts[0]}
    progress(Progress(elapsed_s=elapsed_s, **totals))
    return elapsed_s


def _merge_samples(plans: Sequence[Plan], path: Path) -> None:
    """Write all workers' samples in the order in which they were due."""
    lines: list[tuple[float, str]] = []
    for plan in plans:
        with plan.samples.open(encoding="utf-8") as file:
            lines.extend((float(json.loads(line)["at_s"]), line) for line in file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line for _, line in sorted(lines)), encoding="utf-8")
