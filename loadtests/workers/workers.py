"""THE STORY of one load test: lay out → try the target → start Locust → release → merge → judge.

Locust patches the whole process when it is imported, so it runs in processes of its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests.errors import GeneratorFailed
from loadtests.figures.load_report import DEFAULT_SLO, Cut, LoadReport, report_of
from loadtests.generator.plan import WorkerPlan
from loadtests.generator.schedule import lay_out
from loadtests.generator.tallies import Tally, interval_s
from loadtests.inputs.difficulty import mix
from loadtests.inputs.rows import rows_of
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.target import try_target
from loadtests.servers.usage import ServerUsage, ServerWatch
from loadtests.workers.abort import Abandoned, Lookout
from loadtests.workers.cut_short import GeneratorDied, RunInterrupted
from loadtests.workers.processes import GRACE_S, STARTUP_S, LocustProcesses


@dataclass(frozen=True, slots=True)
class LoadProgress:
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
    progress: Callable[[LoadProgress], None] = lambda _: None,
    at_start: Callable[[], None] = lambda: None,
) -> LoadReport:
    """Run one load test and report it; takes warm-up + duration + a few seconds.

    `at_start` is called once, when the measured window begins.

    Raises:
        BadRows: the inputs cannot be read.
        DeadTarget: the target does not answer one request before the test.
        GeneratorDied: a Locust process died; `report` is of what was measured until then.
        RunInterrupted: the user ended it; `report` likewise.
        GeneratorFailed: before there was anything to report.
    """
    measured = measure(spec, slo, progress=progress, at_start=at_start)
    report = report_of(spec, measured.tally, slo, measured.usage, measured.cut)
    if isinstance(measured.ended_by, GeneratorFailed):
        raise GeneratorDied(str(measured.ended_by), report) from measured.ended_by
    if measured.ended_by is not None:
        raise RunInterrupted(report)
    return report


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the workers of one test counted and what the server used meanwhile."""

    tally: Tally
    usage: tuple[ServerUsage, ...]
    cut: Cut | None = None
    ended_by: BaseException | None = None
    """What made the test end before its time."""


def measure(
    spec: LoadSpec,
    slo: Slo = DEFAULT_SLO,
    *,
    progress: Callable[[LoadProgress], None] = lambda _: None,
    at_start: Callable[[], None] = lambda: None,
) -> Measurement:
    """Run one load test; one that ends early, but within its window, is measured so far.

    Raises:
        KeyboardInterrupt, GeneratorFailed: before there was anything to measure.
    """
    spec = spec.model_copy(update={"inputs": spec.inputs.resolve()})
    rows = rows_of(spec)
    schedule = lay_out(spec, rows)
    tried_usd = try_target(spec, rows[0].text)
    mixed = mix(spec, rows, schedule.rows)
    schedule = replace(schedule, rows=mixed.rows)
    with tempfile.TemporaryDirectory(prefix="raisehand-load-") as name:
        plans = [WorkerPlan(Path(name), worker) for worker in range(spec.processes)]
        plans[0].write_spec(spec)
        plans[0].write_schedule(schedule)
        with LocustProcesses(plans, spec.locust) as workers, ServerWatch(spec.url) as watch:
            workers.wait_for(lambda: all(plan.is_ready for plan in plans), STARTUP_S)
            start = time.monotonic() + spec.warmup_s + 0.2
            plans[0].write_start(start)
            workers.wait_for(
                lambda: _tell(progress, plans, start).elapsed_s >= 0, spec.warmup_s + GRACE_S
            )
            at_start()
            ended, measured_s = None, spec.duration_s
            planned = int((schedule.offsets_s >= 0).sum())
            lookout = Lookout(spec, slo, planned, lambda: _read(plans, spec), interval_s(spec))

            def is_over() -> bool:
                seen = _tell(progress, plans, start)
                lookout.look(seen.elapsed_s, seen.answered, seen.failed + seen.dropped)
                return all(plan.is_done for plan in plans)

            try:
                limit_s = spec.warmup_s + spec.duration_s + spec.timeout_s + GRACE_S
                workers.wait_for(is_over, limit_s)
            except (KeyboardInterrupt, GeneratorFailed, Abandoned) as error:
                ended, measured_s = error, min(spec.duration_s, time.monotonic() - start)
                workers.stop()
        tally = _read(plans, spec)
        if spec.samples is not None:
            _merge_samples(plans, spec.samples, tally)
    tally.unmeasured_sent += 1 + mixed.asked
    tally.unmeasured_usd += (tried_usd or 0) + mixed.usd
    cut = None
    if ended is not None:
        why = str(ended) or "interrupted"
        decided = isinstance(ended, Abandoned) and ended.decided
        cut = Cut(why=why, measured_s=measured_s, unfinished=tally.settle(), decided=decided)
    failed = None if isinstance(ended, Abandoned) else ended
    return Measurement(tally, watch.usage(start), cut, failed)


def _read(plans: Sequence[WorkerPlan], spec: LoadSpec) -> Tally:
    """Return what all workers have handed over."""
    tally = Tally(interval_s(spec))
    for plan in plans:
        tally.add(plan.read_tally(tally.interval_s))
    return tally


def _tell(
    progress: Callable[[LoadProgress], None], plans: Sequence[WorkerPlan], start: float
) -> LoadProgress:
    """Pass on and return how far the workers are."""
    elapsed_s = time.monotonic() - start
    counts = [plan.read_progress() for plan in plans]
    totals = {name: sum(c.get(name, 0) for c in counts) for name in counts[0]}
    seen = LoadProgress(elapsed_s=elapsed_s, **totals)
    progress(seen)
    return seen


def _merge_samples(plans: Sequence[WorkerPlan], path: Path, tally: Tally) -> None:
    """Write all workers' samples in the order in which they were due; say it where that fails."""
    lines: list[tuple[float, str]] = []
    for plan in plans:
        # A worker that was killed may have left half a line, or no file yet.
        whole, _, _ = plan.read_samples().rpartition("\n")
        lines.extend((float(json.loads(line)["at_s"]), line) for line in whole.splitlines())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for _, line in sorted(lines)), encoding="utf-8")
    except OSError as error:
        tally.troubles.add(f"the samples could not be written to {path} ({error.strerror})")
