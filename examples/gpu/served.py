"""The real router with a student on the device, under open-loop load from other cores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encoders import Student
from servers import free_port, running

from loadtests.figures.load_report import LoadReport
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.surface import BATCH_TEXTS
from loadtests.verdict.knee import KneeProbe, KneeSearch
from loadtests.workers.workers import run_load

STEP = 1.3
"""From the first guess up or down: it is a good one."""
ROOM = {"RAISEHAND_MAX_IN_WORK": "4096", "RAISEHAND_MAX_QUEUE": "16384"}
"""By default a worker takes 256 requests at once; 20 ms of a fast card are more."""


@dataclass(frozen=True)
class Served:
    """The highest rate that the router carried with one encoder, length, surface and workers."""

    model: str
    length: int
    surface: str
    workers: int
    texts_per_s: float | None
    """None: no rate that was tried kept the limit; `why` says what was missed at the lowest."""
    tokens_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    """Of a request, from its scheduled instant."""
    samples: int
    utilisation: float | None
    """Mean share of the time that a kernel ran on the card."""
    server_cores: float | None
    generator_cpu: float | None
    """Share of a core, of the busiest generator process."""
    ended_by: str
    why: str
    tried: tuple[tuple[float, float | None, bool], ...]
    """Texts a second, p99 in milliseconds, whether it held."""


@contextmanager
def router(
    student: Student, device: str, workers: int, folder: Path, cores: Collection[int] | None
) -> Iterator[str]:
    """Serve a student in an engine that all workers share; yield the URL once it is ready.

    Raises:
        ServerError: it did not come up; the message names its log.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    name = f"{student.kind.name.replace(' ', '-')}-{workers}"
    arguments = [
        *("serve", "--task", str(student.task), "--bundle", student.bundle.id),
        *("--port", str(port), "--ledger", str(folder / f"{name}.sqlite")),
        *("--device", device, "--engine", "shared", "--workers", str(workers)),
    ]
    log = folder / f"{name}.log"
    with running(arguments, ready_url=f"{url}/readyz", log=log, cores=cores, variables=ROOM):
        yield url


def carried(
    student: Student,
    url: str,
    *,
    length: int,
    surface: str,
    workers: int,
    guess: float,
    p99_ms: float,
    seconds: float,
    processes: int,
    max_send_lag_ms: float,
    most_runs: int,
    told: Callable[[KneeProbe], None],
) -> Served:
    """Search the highest rate of one question, from a guess in texts a second.

    Raises:
        LoadTestsError: the target or the generator broke.
    """
    each = BATCH_TEXTS if surface == "batch" else 1
    reports: list[LoadReport] = []
    slo = Slo(max_failure_rate=0.001, latency_ms={"all": {"p99": p99_ms}})

    def run(spec: LoadSpec) -> LoadReport:
        reports.append(run_load(spec, slo))
        return reports[-1]

    spec = LoadSpec(
        url=url,
        inputs=student.texts[length],
        arrivals="log",
        time="at_s",
        surface=surface,
        student_only=True,
        rate=guess / each,
        duration_s=seconds,
        warmup_s=0.5,
        timeout_s=5.0,
        processes=processes,
        concurrency=4000,
        max_send_lag_ms=max_send_lag_ms,
    )
    search = KneeSearch(
        spec,
        run,
        slo=slo,
        repeats=1,
        most_runs=most_runs,
        longest_s=3 * seconds,
        step=STEP,
        told=told,
    )
    knee = search.find()
    if search.broken_off is not None:
        raise search.broken_off
    best = max((r for r in reports if r.passed), key=lambda r: r.spec.rate, default=None)
    shown = reports[-1] if best is None else best
    inside = [u for u in shown.usage if 0 <= u.at_s <= seconds]
    cards = [u.gpu for u in inside if u.gpu is not None]
    rate = None if best is None else best.goodput_rps * each
    return Served(
        model=student.kind.name,
        length=length,
        surface=surface,
        workers=workers,
        texts_per_s=rate,
        tokens_per_s=None if rate is None else rate * length,
        p50_ms=shown.latency_ms["all"].p50,
        p99_ms=shown.latency_ms["all"].p99,
        samples=shown.scheduled,
        utilisation=sum(cards) / len(cards) if cards else None,
        server_cores=sum(u.cpu for u in inside) / len(inside) if inside else None,
        generator_cpu=shown.generator_cpu,
        ended_by=knee.ended_by,
        why=knee.words if best is not None else "; ".join(shown.faults),
        tried=tuple((p.rate * each, p.p99_ms, p.passed) for p in knee.probes),
    )
