"""`raisehand bench workers`: what a second worker on a second core adds, and what an engine costs.

The load generator needs a core, too, and there may be only two. So one worker and its generator
share a core, first on the one, then on the other; then two of both share the two cores, in one load
test of two processes: the generator's part is the same, and only what the workers share (the port,
the ledger, memory and caches) can keep the ratio below 2. How near to 2 the machine itself comes is
measured beside it, with loops that share nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import chat_spec, drive
from router.bench.process import free_port, python_subject

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec
    from router.bench.process import Subject
    from students.runtime.protocol import Student

SIZES = (1, 16, 64)
"""Texts of one hand-over."""


@dataclass(frozen=True)
class PairsRun:
    """One measurement of all the pairs together."""

    rps: float
    cpu_us: float
    """Of the workers, a request."""
    busy: float
    """Share of the cores' time that the workers had."""
    shares: list[float]
    """Of the workers' processor time, by worker."""
    failed: int


@click.command(name="workers", epilog="Example: raisehand bench workers --json")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
@click.option("--connections", default=64, show_default=True, help="Of each generator.")
@JSON
def workers(runs: int, seconds: float, connections: int, as_json: bool) -> None:
    """Compare two workers on two cores with one on one, and the engine with a student of its own.

    The workers share a port and a ledger, as with `serve --workers 2`. There is a generator for
    each, on the same cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise click.UsageError(f"two cores are needed; this process may use {cores}")
    report = _scaling(cores[:2], runs, seconds, connections) | {"hand_over": _hand_over(cores[0])}
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _scaling(cores: Sequence[int], runs: int, seconds: float, connections: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    groups = [[cores[0]], [cores[1]], list(cores)]
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(2, mp_context=context))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        spec = chat_spec(folder)
        subjects = []
        for number, group in enumerate(groups):
            port = free_port()
            options = ("--shared", "--ledger", str(folder / f"{number}.sqlite"))
            subjects.append(
                [
                    stack.enter_context(
                        python_subject(
                            "router.bench.servers.target", core, "--port", str(port), *options
                        )
                    )
                    for core in group
                ]
            )
        rounds: list[list[PairsRun]] = []
        loops: list[list[float]] = []
        for _ in range(runs + 1):
            rounds.append(
                [
                    _pairs(spec, own, group, seconds, connections)
                    for own, group in zip(subjects, groups, strict=True)
                ]
            )
            loops.append([_spin(pool, group, seconds / 4) for group in groups])
    measured = rounds[1:]  # the first warms up
    # The two cores may differ: what each does alone is the measure for both together.
    ratios = [2 * both.rps / (one.rps + other.rps) for one, other, both in measured]
    machine = [2 * both / (one + other) for one, other, both in loops[1:]]
    alone = [run for one, other, _ in measured for run in (one, other)]
    together = [both for _, _, both in measured]
    return {
        "scaling": round(median(ratios), 2),
        "scaling_runs": [round(r, 2) for r in ratios],
        "machine_scaling": round(median(machine), 2),
        "machine_scaling_runs": [round(r, 2) for r in machine],
        "rps_one_pair": [round(r.rps) for r in alone],
        "rps_two_pairs": [round(r.rps) for r in together],
        "cpu_us_one": round(median(r.cpu_us for r in alone), 1),
        "cpu_us_two": round(median(r.cpu_us for r in together), 1),
        "workers_busy": [round(r.busy, 2) for r in (alone[-1], together[-1])],
        "shares": [round(s, 2) for s in together[-1].shares],
        "failed": sum(r.failed for r in (*alone, *together)),
        "load_average": os.getloadavg()[0],
    }


def _pairs(
    spec: LoadSpec,
    subjects: Sequence[Subject],
    cores: Sequence[int],
    seconds: float,
    connections: int,
) -> PairsRun:
    """Load the port that the subjects share from as many processes on their cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        driven = drive(
            subjects,
            spec,
            closed_loop=connections * len(subjects),
            processes=len(subjects),
            duration_s=seconds,
        )
    finally:
        os.sched_setaffinity(0, before)
    used = sum(driven.by_server_s)
    return PairsRun(
        rps=driven.rps,
        cpu_us=driven.cpu_us,
        busy=used / (driven.report.measured_s * len(subjects)),
        shares=[one / used for one in driven.by_server_s],
        failed=driven.unanswered,
    )


def _spin(pool: ProcessPoolExecutor, cores: Sequence[int], seconds: float) -> float:
    """Rounds a second of loops that share nothing, one on each core, together."""
    spinning = [pool.submit(_rounds, core, seconds) for core in cores]
    return sum(one.result() for one in spinning)


def _rounds(core: int, seconds: float) -> float:
    os.sched_setaffinity(0, {core})
    rounds, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        sum(range(2_000))
        rounds += 1
    return rounds / spent


def _hand_over(core: int) -> list[dict[str, float]]:
    """Microseconds of one `predict` in this process and through the engine, all on one core."""
    from router.bench.subject import make_student, make_task, make_texts
    from router.student.remote_student import RemoteStudent

    os.sched_setaffinity(0, {core})
    with TemporaryDirectory() as folder:
        schema = make_task("http://127.0.0.1:9", Path(folder)).schema_
        own, texts = make_student(schema), make_texts(256, seed=7)
        address = Path(folder) / "engine.sock"
        with python_subject(
            "router.bench.servers.engine", core, "--socket", str(address)
        ) as engine:
            remote = RemoteStudent(schema, address, Path(folder))
            rows = []
            for size in SIZES:
                batch = texts[:size]
                before = sum(engine.cpu_seconds().values())
                through, ours = _microseconds(remote, batch)
                theirs = sum(engine.cpu_seconds().values()) - before
                inside, _ = _microseconds(own, batch)
                rows.append(
                    {
                        "texts": size,
                        "own_us": round(inside, 1),
                        "engine_us": round(through, 1),
                        "engine_cpu_us_of_worker": round(ours, 1),
                        "engine_cpu_us_of_engine": round(theirs / CALLS * 1e6, 1),
                    }
                )
    return rows


CALLS = 2_000


def _microseconds(student: Student, texts: Sequence[str]) -> tuple[float, float]:
    """Return the median wall time of a call and the mean CPU time of this process for it."""
    walls = []
    cpu = time.process_time()
    for _ in range(CALLS):
        started = time.perf_counter()
        student.predict(texts)
        walls.append(time.perf_counter() - started)
    return median(walls) * 1e6, (time.process_time() - cpu) / CALLS * 1e6


def _words(report: dict[str, Any]) -> str:
    lines = [
        f"two workers on two cores: {report['scaling']:g} × one (runs: {report['scaling_runs']}); "
        f"loops that share nothing: {report['machine_scaling']:g} ×",
        f"requests/s beside a generator on the same core: {report['rps_one_pair']} with one pair, "
        f"{report['rps_two_pairs']} with two",
        f"CPU of the workers: {report['cpu_us_one']:g} µs a request with one, "
        f"{report['cpu_us_two']:g} µs with two",
    ]
    lines += [
        f"{row['texts']} texts: {row['own_us']:g} µs in the worker's own process, "
        f"{row['engine_us']:g} µs through the engine (CPU: worker "
        f"{row['engine_cpu_us_of_worker']:g}, engine {row['engine_cpu_us_of_engine']:g})"
        for row in report["hand_over"]
    ]
    return "\n".join(lines)
