"""Scenario in, result out: one run, several seeds, or several scenarios, on as many cores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from costmodel.engine.fields import Fields, policy_of, student_of, teacher_of
from costmodel.engine.replications import Replications
from costmodel.engine.result import Result, result_of
from costmodel.inputs.scenario import Scenario
from costmodel.inputs.workload import NO_BURSTS, WINDOW_S, traffic
from costmodel.kernel import layout
from costmodel.kernel.loop import run as play

Progress = Callable[[int], None]
"""Called now and then with the number of requests simulated so far."""

ROWS = 120
"""At most so many rows of a timeline."""
STRETCH_WARMUP_S = 120.0
"""Traffic simulated and not counted before a stretch of time that runs in parallel."""
BACKLOG_S = 1.2
"""What may wait, or be missing in a token bucket, at a cut: 1 % of that warm-up, whose traffic
builds as much again; more than that it cannot."""


def simulate(
    scenario: Scenario, seed: int = 0, *, workers: int = 1, progress: Progress | None = None
) -> Result:
    """Run a scenario once. The same scenario, seed and workers give the same result.

    Args:
        scenario: what to run.
        seed: of every random stream.
        workers: above 1, the horizon is cut into that many stretches of time which run in
            parallel, each with its own seed and a warm-up before it. Where a queue or an empty
            token bucket would reach beyond a cut, the run is played again in one piece, and its
            `warnings` say so.
        progress: told the number of requests so far, about ten times a second.

    Raises:
        BadScenario: the scenario cannot be simulated.
    """
    jobs = _plan(scenario, seed, workers)
    [result] = _gather(jobs, workers, progress)
    why = _crosses(jobs)
    if why is None:
        return result
    [whole] = _gather(_plan(scenario, seed, 1), 1, progress)
    said = f"played in one piece, {workers} workers or not: {why} would be lost at a cut"
    return replace(whole, warnings=(*whole.warnings, said))


def log_calls(scenario: Scenario, seed: int, most: int) -> layout.Records:
    """Play a scenario once; return what became of the first calls that were wanted (`layout.LOG`).

    Escalations that the router does not make are there too, audits only where they are made.

    Raises:
        BadScenario: the scenario cannot be simulated.
    """
    [job] = _plan(scenario, seed, 1)
    stats = layout.new_stats(1, log=most)
    play(job.told, seed, stats, job.progress)
    return stats.log[: int(stats.state[0]["logged"])]


def _crosses(jobs: Sequence[_Job]) -> str | None:
    """What reaches from one stretch of time into the next; None when nothing does."""
    ends = [job.stats.state[0] for job in jobs[:-1]]
    for name, words in (
        ("backlog_s", "a queue of {:,.0f} s"),
        ("refill_s", "what {:,.0f} s of a rate limit or budget would refill"),
    ):
        most = max((float(end[name]) for end in ends), default=0.0)
        if most > BACKLOG_S:
            return words.format(most)
    return None


def simulate_many(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Replications:
    """Run a scenario with several seeds, `workers` of them at a time."""
    jobs = [job for seed in seeds for job in _plan(scenario, seed, 1)]
    return Replications(tuple(_gather(jobs, workers, progress)))


def simulate_all(
    scenarios: Sequence[Scenario],
    seed: int = 0,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Result]:
    """Run several scenarios with one seed (common random numbers), `workers` at a time."""
    jobs = [job for scenario in scenarios for job in _plan(scenario, seed, 1)]
    return _gather(jobs, workers, progress)


# --- one stretch of time ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    scenario: Scenario
    seed: int
    stretch: int
    of: int
    told: layout.Told
    stats: layout.Stats
    progress: npt.NDArray[np.int64]

    def run(self) -> tuple[float, float]:
        """Return wall seconds and seconds of the core."""
        begun, began = time.perf_counter(), time.thread_time()
        seed = self.seed if self.of == 1 else (self.seed << 16) + self.stretch + 1
        play(self.told, seed, self.stats, self.progress)
        return time.perf_counter() - begun, time.thread_time() - began


def _plan(scenario: Scenario, seed: int, stretches: int) -> list[_Job]:
    if stretches > 1 and scenario.workload.arrivals == "replay":
        stretches = 1
    shift = scenario.warmup_s
    span = scenario.duration_s
    rows = ROWS if span >= ROWS * 60 else max(1, int(span // 60))
    rows = max(1, rows // stretches)
    until = [shift + span * (k + 1) / stretches for k in range(stretches)]
    middle = (np.arange(max(1, math.ceil((shift + span) / WINDOW_S))) + 0.5) * WINDOW_S
    hardness = scenario.drift.hardness(np.maximum(middle - shift, 0.0))
    spells = scenario.drift.spells.table() if scenario.drift.spells else NO_BURSTS
    rule = student_of(scenario) | policy_of(scenario) | teacher_of(scenario)
    jobs = []
    for k in range(stretches):
        begin = until[k] - span / stretches
        lead = min(begin, max(shift, STRETCH_WARMUP_S if k else 0.0))
        arriving = traffic(
            scenario.workload,
            until_s=until[k],
            start_s=begin - lead,
            zero_s=shift,
            hardness=hardness,
            spells=spells,
            output=scenario.teacher.output_tokens,
        )
        counted: Fields = {"count_from_s": begin, "row_s": span / stretches / rows}
        told = layout.tell(arriving | counted | rule)
        stats, seen = layout.new_stats(rows), np.zeros(2, np.int64)
        jobs.append(_Job(scenario, seed, k, stretches, told, stats, seen))
    return jobs


def _gather(jobs: Sequence[_Job], workers: int, progress: Progress | None) -> list[Result]:
    """Run jobs in threads (the kernel holds no lock) and join the stretches of one run."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        futures = [pool.submit(job.run) for job in jobs]
        try:
            while wait_for(futures, timeout=0.1).not_done:
                if progress is not None:
                    progress(sum(int(job.progress[0]) for job in jobs))
        except BaseException:
            for job, future in zip(jobs, futures, strict=True):
                job.progress[1] = 1
                future.cancel()
            raise
    if progress is not None:
        progress(sum(int(job.progress[0]) for job in jobs))
    clocks = [future.result() for future in futures]
    results, k = [], 0
    while k < len(jobs):
        of = jobs[k].of
        walls, cores = zip(*clocks[k : k + of], strict=True)
        stretches = [job.stats for job in jobs[k : k + of]]
        results.append(
            result_of(
                jobs[k].scenario, jobs[k].seed, stretches, wall_s=max(walls), cpu_s=sum(cores)
            )
        )
        k += of
    return results
