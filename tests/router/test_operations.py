"""A router process among real trouble: dead teachers, floods, signals.

The box that runs this may be busy, so that bounds on latency are loose here; the benchmarks have
the strict ones.
"""

import asyncio
import math
import os
import random
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
import pytest

from router.ledger.read import read_entries, read_totals
from router.testing import Fault, FaultServer
from tests.waiting import PATIENCE_S, until_equal

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).with_name("serve_scripted.py")
DEADLINE_MS = 1_500.0
RUNS = 6
"""At most, with one fault, until one of them was not held up by the machine."""


@dataclass
class Router:
    """A running router process."""

    process: asyncio.subprocess.Process
    url: str
    ledger: Path
    answers: list = field(default_factory=list)

    async def load(self, session, rate, seconds, unsure=0.2, deadline_ms=DEADLINE_MS, seed=1):
        """Ask at Poisson instants fixed in advance; returns (status, route, reason, seconds)."""
        rng = random.Random(seed)
        instants, at = [], 0.0
        while (at := at + rng.expovariate(rate)) < seconds:
            instants.append(at)
        started = time.monotonic()

        async def ask(i, at):
            await asyncio.sleep(started + at - time.monotonic())
            text = f"{'maybe' if rng.random() < unsure else 'surely'} {i} some words to read"
            payload = {"text": text, "deadline_ms": deadline_ms}
            try:
                async with session.post(self.url + "/v1/classify", json=payload) as response:
                    await response.read()
                    answer = (
                        response.status,
                        response.headers.get("x-raisehand-route"),
                        response.headers.get("x-raisehand-reason"),
                    )
            except aiohttp.ClientError as error:
                answer = (0, "", type(error).__name__)
            return (*answer, time.monotonic() - started - at)

        answers = await asyncio.gather(*(ask(i, at) for i, at in enumerate(instants)))
        self.answers.extend(answers)
        return answers


@asynccontextmanager
async def _router(teacher, folder, *options, **environment):
    ledger = folder / "ledger.sqlite"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "--teacher", teacher, "--ledger", str(ledger), *options,
        stdout=asyncio.subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    port = int(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
    try:
        yield Router(process, f"http://127.0.0.1:{port}", ledger)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def teacher():
    """A teacher server of 20 ms."""
    async with FaultServer(["calm", "urgent"]) as server:
        server.latency_s = 0.02
        yield server


@pytest.fixture
async def router(teacher, tmp_path):
    """A router in front of that teacher."""
    async with _router(teacher.url, tmp_path) as router:
        yield router


@pytest.fixture
async def session():
    """A client without a limit on connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def _p99(seconds):
    return sorted(seconds)[int(0.99 * (len(seconds) - 1))]


async def test_a_dead_teacher_does_not_move_the_student_path(router, teacher, session, stalls):
    """T6, T9: student p99 stays, no student answer fails, deadlines hold, every reason is named."""
    await router.load(session, rate=100, seconds=1)
    limit_s = math.inf
    for fault in (Fault.NONE, Fault.HANG, Fault.THROTTLE, Fault.RESET, Fault.GARBAGE):
        teacher.fault = fault
        # Noise of the box only ever adds: the best of some runs is nearest to the truth.
        runs, p99 = [], []
        while len(runs) < 2 or (min(p99) > limit_s and len(runs) < RUNS):
            runs.append(await router.load(session, rate=100, seconds=2, seed=len(runs)))
            p99.append(_p99([s for _, route, _, s in runs[-1] if route == "student"]))
        answers = [answer for run in runs for answer in run]
        assert {status for status, *_ in answers} == {200}
        assert min(p99) < limit_s, (fault, p99, limit_s)
        if fault is Fault.NONE:
            limit_s = 2 * min(p99) + 0.03
        asked = [s for _, route, _, s in answers if route != "student"]
        reasons = {reason for _, route, reason, _ in answers if route == "degraded"}
        assert len(answers) - len(asked) > 100 * len(runs)
        assert max(asked) < DEADLINE_MS / 1000 + 0.1 + stalls.worst
        assert reasons <= {
            "teacher_timeout", "teacher_throttled", "teacher_unavailable", "teacher_garbled",
            "breaker_open", "retry_budget", "teacher_busy",
        }  # fmt: skip
        assert (fault is Fault.NONE) == (not reasons)
        teacher.fault = Fault.NONE
        await asyncio.sleep(0.2)


async def test_a_killed_teacher_and_its_return(tmp_path, session):
    """Kill the teacher under load: nothing fails; when it comes back it is used again."""
    async with FaultServer(["calm", "urgent"]) as teacher:
        port = teacher.port
        async with _router(teacher.url, tmp_path) as router:
            before = await router.load(session, rate=60, seconds=1.5)
            assert any(route == "teacher" for _, route, *_ in before)
            await teacher.__aexit__(None, None, None)
            during = await router.load(session, rate=60, seconds=2)
            assert {status for status, *_ in during} == {200}
            assert {route for _, route, *_ in during} == {"student", "degraded"}
            revived = FaultServer(["calm", "urgent"])
            revived.port = port
            async with revived:
                ends = time.monotonic() + PATIENCE_S
                while time.monotonic() < ends:
                    after = await router.load(session, rate=60, seconds=1)
                    if all(route != "degraded" for _, route, *_ in after):
                        break
                assert all(route != "degraded" for _, route, *_ in after)


async def test_a_flood_of_unsure_texts_keeps_the_cap(router, teacher, session):
    """T10: all texts unsure, far beyond the cap: the teacher never sees more than 8 at once."""
    teacher.latency_s = 0.2
    answers = await router.load(session, rate=200, seconds=2, unsure=1.0)
    assert teacher.peak <= 8
    assert {status for status, *_ in answers} == {200}
    reasons = {reason for *_, reason, _ in answers}
    assert {"low_confidence", "teacher_busy"} <= reasons


async def test_overload_is_refused_fast_and_forgotten_fast(teacher, tmp_path, session):
    """T1 to T4: beyond the knee goodput holds, refusals are quick, and all is soon forgotten."""
    knee = 4 / 0.1  # batches of 4 texts, 100 ms each
    limits = {"RAISEHAND_MAX_BATCH_TEXTS": "4", "RAISEHAND_MAX_QUEUE": "8"}
    calm = {"unsure": 0.0, "deadline_ms": 5_000.0}
    async with _router(teacher.url, tmp_path, "--batch-ms", "100", **limits) as router:
        for factor in (2.0, 5.0):
            for _ in range(3):  # a machine with other work to do may be late, and is asked again
                answers = await router.load(session, rate=factor * knee, seconds=3, **calm)
                good = [s for status, *_, s in answers if status == 200]
                refused = [s for status, *_, s in answers if status == 429]
                assert len(good) + len(refused) == len(answers)
                reasons = {reason for status, _, reason, _ in answers if status == 429}
                assert reasons == {"queue_full"}
                assert median(refused) < median(good) / 2
                if len(good) / 3 > 0.7 * knee:
                    break
            assert len(good) / 3 > 0.7 * knee
        ends = (
            time.monotonic() + PATIENCE_S
        )  # a machine that pauses for .4 s fills so short a queue, too
        while time.monotonic() < ends:
            after = await router.load(session, rate=0.5 * knee, seconds=1, **calm)
            if {status for status, *_ in after} == {200}:
                break
        assert {status for status, *_ in after} == {200}


async def test_sigterm_under_load_loses_nothing(teacher, tmp_path, session):
    """T17: unready first, every request that came is answered, the ledger has each, exit code 0."""
    async with _router(teacher.url, tmp_path, RAISEHAND_DRAIN_DELAY_S="3") as router:
        loading = asyncio.create_task(router.load(session, rate=100, seconds=1.2))
        await asyncio.sleep(1.0)
        router.process.send_signal(signal.SIGTERM)

        async def readiness():
            async with session.get(router.url + "/readyz") as response:
                return response.status

        await until_equal(readiness, 503)
        answers = await loading
        assert await asyncio.wait_for(router.process.wait(), PATIENCE_S) == 0
    assert {status for status, *_ in answers} == {200}
    assert read_totals(router.ledger).all.requests == len(answers)


async def test_a_second_sigterm_leaves_now(teacher, tmp_path, session):
    """T18: a router that waits for a long drain exits at the second signal, its ledger stored."""
    async with _router(teacher.url, tmp_path, RAISEHAND_DRAIN_DELAY_S="3600") as router:
        answers = await router.load(session, rate=50, seconds=0.5)
        router.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert router.process.returncode is None
        router.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(router.process.wait(), PATIENCE_S)
    assert read_totals(router.ledger).all.requests == len(answers)


async def test_kill_9_loses_only_the_last_moment(router, session):
    """After SIGKILL the ledger holds every answer older than half a second, and opens."""
    answers = await router.load(session, rate=100, seconds=1)
    await asyncio.sleep(0.5)
    router.process.kill()
    await router.process.wait()
    assert len(list(read_entries(router.ledger))) == len(answers)


async def test_clients_that_leave_are_not_answered_and_are_booked(router, teacher, session):
    """A hundred clients that hang up half way: the router goes on, and nothing leaks."""
    teacher.latency_s = 0.3
    descriptors = Path(f"/proc/{router.process.pid}/fd")
    await router.load(session, rate=50, seconds=0.5)
    before = len(list(descriptors.iterdir()))

    async def leave(session, i):
        payload = {"text": f"maybe {i}"}
        timeout = aiohttp.ClientTimeout(total=0.05)
        with suppress(asyncio.TimeoutError):  # the few beyond the cap are answered at once
            async with session.post(router.url + "/v1/classify", json=payload, timeout=timeout):
                pass

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as leaving:
        await asyncio.gather(*(leave(leaving, i) for i in range(100)))
    await asyncio.sleep(1.0)
    answers = await router.load(session, rate=50, seconds=0.5, unsure=0.0)
    assert {status for status, *_ in answers} == {200}
    assert len(list(descriptors.iterdir())) <= before + 20
