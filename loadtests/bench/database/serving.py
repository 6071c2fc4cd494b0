"""One worker with a ledger in PostgreSQL beside one with SQLite alone, in turns.

The worker has a core of its own, as a deployment gives it one. The process that ships, PostgreSQL
and the load generator are on the other; where that core is full in a closed loop, the loop says
what the generator could, and not the worker. So both workers are also asked a rate that leaves air,
at once, so that the machine's moods are the same for both: what a worker can do is one over the
processor time that a request takes of it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from loadtests.bench.driving import Driven, chat_spec, drive, for_p99, metrics_of
from loadtests.bench.ratios import ratio_of_pairs
from router.bench.process import python_subject
from router.errors import BadSettings

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec
    from router.bench.process import Subject

SHIPPED_S = 60.0
RATE = 0.12
"""Of the requests a second in the closed loop, asked of each worker."""
SHIPPER = "shipper"
"""The process of the router that ships, and the thread that waits for it."""
_SHARED = "one_core"


@dataclass(frozen=True, slots=True)
class LedgerArm:
    """A router, and the core of the process that ships: None where there is none."""

    subject: Subject
    shipper_core: int | None = None

    def place(self) -> None:
        """Put the process that ships, which starts a moment later, where this arm has it."""
        if self.shipper_core is None:
            return
        give_up_at = time.monotonic() + SHIPPED_S
        while (pid := self.subject.companions().get(SHIPPER)) is None:
            if time.monotonic() > give_up_at:
                raise BadSettings("the router has started no process that ships")
            time.sleep(0.1)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {self.shipper_core})


@dataclass(slots=True)
class ArmTurns:
    """What the turns of one arm showed, a turn a place."""

    rps: list[float] = field(default_factory=list)
    worker_us: list[float] = field(default_factory=list)
    """Of the worker's processor a request, without what ships."""
    shipper_us: list[float] = field(default_factory=list)
    database_us: list[float] = field(default_factory=list)
    worker_busy: list[float] = field(default_factory=list)
    generator_busy: list[float] = field(default_factory=list)


def measure_serving(
    url: str,
    family_seconds: Callable[[], float],
    kill: Callable[[], None],
    runs: int,
    seconds: float,
    connections: int,
    cores: tuple[int, int],
) -> dict[str, Any]:
    """Measure throughput, processor time and, once PostgreSQL is dead, latencies.

    Args:
        url: of a database with tables.
        family_seconds: returns what PostgreSQL has used of the processor so far.
        kill: ends it.
        runs: turns of each arm in each of the three parts.
        seconds: of each turn.
        connections: of the closed loop.
        cores: the worker's, and that of everything else.
    """
    own, others = cores
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        spec = chat_spec(folder).model_copy(update={"duration_s": seconds})
        sqlite, postgres = (
            stack.enter_context(
                python_subject(
                    "router.bench.servers.target", own, "--ledger", str(folder / name), *options
                )
            )
            for name, options in (("sqlite", ()), ("postgres", ("--database", url)))
        )
        arms = {"sqlite": LedgerArm(sqlite), "postgres": LedgerArm(postgres, others)}
        shared = {_SHARED: LedgerArm(postgres, own)}
        closed = _turns(arms | shared, spec, runs, family_seconds, closed_loop=connections)
        rate = round(RATE * median(closed["sqlite"].rps))
        asked = _together(arms, spec, runs, family_seconds, rate)
        kill()
        dead = _latencies(arms, spec, rate, runs)
    return {
        "cores": {"worker": own, "shipper, PostgreSQL, load": others},
        "closed_loop": _told(closed, "rps"),
        "together": {"rate": rate} | _told(asked, "worker_us"),
        "dead": {"rate": rate} | dead,
    }


def _told(turns: Mapping[str, ArmTurns], name: str) -> dict[str, Any]:
    """Return each arm's figures, and the worker's throughput beside that with SQLite alone."""
    told: dict[str, Any] = {}
    beside = turns["sqlite"]
    for arm, found in turns.items():
        told[arm] = {
            "rps": [round(value) for value in found.rps],
            "worker_us": _median_and_least(found.worker_us),
            "worker_busy": round(median(found.worker_busy), 2),
            "generator_busy": round(median(found.generator_busy), 2),
        }
        if found is beside:
            continue
        told[arm] |= {
            "shipper_us": _median_and_least(found.shipper_us),
            "database_us": _median_and_least(found.database_us),
        }
        if name == "rps":
            told[arm]["throughput"] = ratio_of_pairs(found.rps, beside.rps)
            continue
        whole = [a + b for a, b in zip(found.worker_us, found.shipper_us, strict=True)]
        told[arm] |= {  # half the time is twice the throughput
            "throughput": ratio_of_pairs(beside.worker_us, found.worker_us),
            "throughput_one_core": ratio_of_pairs(beside.worker_us, whole),
        }
    return told


def _median_and_least(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 2), "least": round(min(values), 2)}


def _turns(
    arms: Mapping[str, LedgerArm],
    spec: LoadSpec,
    runs: int,
    family_seconds: Callable[[], float],
    **load: Any,
) -> dict[str, ArmTurns]:
    """Load one after the other, the first to go changing; the first round warms up."""
    found = {name: ArmTurns() for name in arms}
    for run in range(runs + 1):
        for name in _in_turn(arms, run):
            arm = arms[name]
            arm.place()
            before, database = arm.subject.cpu_seconds(), family_seconds()
            driven = drive([arm.subject], spec, **load)
            _check(driven, load)
            if arm.shipper_core is not None:
                _wait_until_shipped(arm.subject.port)  # what it costs later is its cost, too
            if run:
                later = arm.subject.cpu_seconds().get(SHIPPER, 0.0) - before.get(SHIPPER, 0.0)
                _note(found[name], driven, later, family_seconds() - database)
    return found


def _together(
    arms: Mapping[str, LedgerArm],
    spec: LoadSpec,
    runs: int,
    family_seconds: Callable[[], float],
    rate: float,
) -> dict[str, ArmTurns]:
    """Load both at once, each from a generator of its own; the first round warms up."""
    found = {name: ArmTurns() for name in arms}
    subjects = {name: arm.subject for name, arm in arms.items()}
    for arm in arms.values():
        arm.place()
    with ThreadPoolExecutor(len(arms)) as pool:
        for run in range(runs + 1):
            before = {name: subject.cpu_seconds() for name, subject in subjects.items()}
            database = family_seconds()
            loads = {
                name: pool.submit(drive, [subject], spec, rate=rate, seed=run)
                for name, subject in subjects.items()
            }
            driven = {name: load.result() for name, load in loads.items()}
            _wait_until_shipped(subjects["postgres"].port)
            for name, each in driven.items():
                _check(each, {"rate": rate})
                later = subjects[name].cpu_seconds().get(SHIPPER, 0.0)
                if run:
                    shipped = later - before[name].get(SHIPPER, 0.0)
                    _note(found[name], each, shipped, family_seconds() - database)
    return found


def _note(turns: ArmTurns, driven: Driven, shipper_s: float, database_s: float) -> None:
    report = driven.report
    worker_s = sum(used for name, used in driven.used_s.items() if name != SHIPPER)
    booked = report.sent + report.unmeasured_sent
    turns.rps.append(driven.rps)
    turns.worker_us.append(worker_s / report.sent * 1e6)
    turns.worker_busy.append(worker_s / report.measured_s)
    turns.generator_busy.append(report.generator_cpu)
    turns.shipper_us.append(shipper_s / booked * 1e6)
    turns.database_us.append(database_s / booked * 1e6)


def _check(driven: Driven, load: Mapping[str, float]) -> None:
    """Refuse a turn with failed requests.

    Raises:
        BadSettings: naming how many, and what to do.
    """
    if driven.unanswered:
        raise BadSettings(
            f"{driven.unanswered} of {driven.report.scheduled} requests failed at {load}; the "
            "machine is too busy to judge: try again when it is quiet"
        )


def _latencies(
    arms: Mapping[str, LedgerArm], spec: LoadSpec, rate: float, runs: int
) -> dict[str, Any]:
    p99: dict[str, list[float]] = {name: [] for name in arms}
    spec = for_p99(spec, rate)
    for run in range(runs):
        for name in _in_turn(arms, run):
            driven = drive([arms[name].subject], spec, rate=rate, seed=run)
            _check(driven, {"rate": rate})
            late = driven.answers_ms.p99
            if late is None:
                raise BadSettings(f"too few answers for a p99 at {rate}/s; try again")
            p99[name].append(late)
    return {
        "p99_ms": {name: [round(v, 2) for v in values] for name, values in p99.items()},
        "p99": ratio_of_pairs(p99["postgres"], p99["sqlite"]),
    }


def _in_turn(arms: Mapping[str, LedgerArm], run: int) -> Sequence[str]:
    return list(arms)[:: 1 if run % 2 else -1]


def _wait_until_shipped(port: int) -> None:
    give_up_at = time.monotonic() + SHIPPED_S
    while time.monotonic() < give_up_at:
        time.sleep(1.2)  # a round of the shipper, so that it has looked
        if re.search(r"(?m)^raisehand_ledger_unshipped 0\.0$", metrics_of(port)):
            return
    raise BadSettings(f"the database did not get its rows within {SHIPPED_S:g} s")


def serving_words(report: Mapping[str, Any]) -> list[str]:
    """Say what `measure_serving` found."""
    closed, asked, dead = report["closed_loop"], report["together"], report["dead"]
    own, others = report["cores"].values()
    alone, shared = asked["sqlite"]["worker_us"], asked["postgres"]
    lines = [
        f"One worker on core {own}; the process that ships, PostgreSQL and the load on core "
        f"{others}. Throughput with PostgreSQL beside SQLite alone:",
        f"  by the worker's processor time, both at {asked['rate']} requests/s at once: "
        f"{_interval(shared['throughput'])} ({alone['median']:g} and "
        f"{shared['worker_us']['median']:g} µs a request, least {alone['least']:g} and "
        f"{shared['worker_us']['least']:g}); shipping on the worker's core, too: "
        f"{_interval(shared['throughput_one_core'])}",
    ]
    lines += [f"  {_loop(closed, name)}" for name in ("postgres", _SHARED)]
    lines += [
        f"A row costs the process that ships {shared['shipper_us']['least']:g} µs and "
        f"PostgreSQL {shared['database_us']['least']:g} at least",
        f"PostgreSQL dead, {dead['rate']} requests/s: p99 {dead['p99_ms']['postgres']} ms beside "
        f"{dead['p99_ms']['sqlite']} of SQLite alone: {_interval(dead['p99'])}",
    ]
    return lines


def _loop(closed: Mapping[str, Any], name: str) -> str:
    arm, beside = closed[name], closed["sqlite"]
    what = "in a closed loop" if name == "postgres" else "the same, shipping on the worker's core"
    return (
        f"{what}: {_interval(arm['throughput'])} ({median(beside['rps']):g} and "
        f"{median(arm['rps']):g} requests/s; worker {beside['worker_busy']:.0%} and "
        f"{arm['worker_busy']:.0%} busy, generator {beside['generator_busy']:.0%} and "
        f"{arm['generator_busy']:.0%})"
    )


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['ratio']:g} × [{found['low']:g}, {found['high']:g}]"
