"""The guarded teacher call against a real server that breaks in every way we know."""

import asyncio
import random
import time
from collections import Counter

import pytest

from router.policy import Reason
from router.teacher.guard import EscalationFailed, EscalationGuard
from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.testing import Fault, FaultServer
from students.task import Task
from students.teachers.classify import ClassifyTeacher
from tests.waiting import until

LABELS = ["urgent", "not urgent"]
TEXT = "we need water and food here"


@pytest.fixture
async def server():
    """A teacher server on loopback, healthy until told otherwise."""
    async with FaultServer(LABELS) as server:
        yield server


@pytest.fixture
async def guard(server):
    """A guard over the real `/classify` client, with a throttle that never interferes."""
    teacher = _teacher(server.url)
    yield EscalationGuard(
        teacher,
        max_concurrency=4,
        max_wait_s=0.0,
        throttle=AdaptiveThrottle(min_requests=10**9),
        retries=RetryBudget(reserve=1000),
        rng=random.Random(1),
    )
    await teacher.aclose()


def _teacher(url):
    task = Task.model_validate(
        {
            "name": "urgent",
            "labels": LABELS,
            "teacher": {
                "mode": "classify",
                "base_url": url,
                "model": "m",
                "price": {"usd_per_mtok_input": "2", "usd_per_mtok_output": "8"},
            },
            "inputs": {"path": "unused.csv"},
        }
    )
    return ClassifyTeacher(task)


async def _failure(guard, within_s=1.0):
    with pytest.raises(EscalationFailed) as caught:
        await guard.ask(TEXT, deadline=time.monotonic() + within_s)
    return caught.value


async def test_a_healthy_server_answers(guard, server):
    """Without a fault the answer and its usage come back."""
    answer = await guard.ask(TEXT, deadline=time.monotonic() + 5)
    assert (answer.reply.wording, answer.usage.input_tokens) == ("urgent", server.billed_input)


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (Fault.HANG, Reason.TEACHER_TIMEOUT, 1),
        (Fault.HALF_OPEN, Reason.TEACHER_TIMEOUT, 1),
        (Fault.DRIP, Reason.TEACHER_TIMEOUT, 1),
        (Fault.RESET, Reason.TEACHER_UNAVAILABLE, 2),
        (Fault.TRUNCATED, Reason.TEACHER_UNAVAILABLE, 2),
        (Fault.ERROR, Reason.TEACHER_UNAVAILABLE, 2),
        (Fault.THROTTLE, Reason.TEACHER_THROTTLED, 2),
        (Fault.THROTTLE_LONG, Reason.TEACHER_THROTTLED, 1),
        (Fault.REJECT, Reason.TEACHER_REJECTED, 1),
        (Fault.REDIRECT, Reason.TEACHER_REJECTED, 1),
        (Fault.GARBAGE, Reason.TEACHER_GARBLED, 1),
        (Fault.NOT_AN_OBJECT, Reason.TEACHER_GARBLED, 1),
        (Fault.NAN, Reason.TEACHER_GARBLED, 1),
    ],
)
async def test_every_fault_ends_by_the_deadline_with_its_name(
    guard, server, fault, reason, attempts
):
    """Whatever the server does, and it may do it for ever, the call ends, named and counted."""
    server.fault = fault
    # Only what answers nothing ends at the deadline; THROTTLE_LONG asks for 30 seconds.
    error = await _failure(guard, 1.0 if reason is Reason.TEACHER_TIMEOUT else 20.0)
    assert (error.reason, error.attempts) == (reason, attempts)
    assert server.seen[fault] == attempts


async def test_a_huge_answer_is_not_read_to_its_end(guard, server):
    """An answer of 20 MB is given up, garbled."""
    server.fault = Fault.HUGE
    error = await _failure(guard, within_s=60.0)
    assert error.reason is Reason.TEACHER_GARBLED


async def test_nobody_listening_is_unavailable_and_free():
    """A refused connection is named at once and costs nothing."""
    async with FaultServer(LABELS) as gone:
        pass
    teacher = _teacher(gone.url)
    error = await _failure(EscalationGuard(teacher), within_s=60.0)
    await teacher.aclose()
    assert error.reason is Reason.TEACHER_UNAVAILABLE
    assert (error.usage.input_tokens, error.estimated) == (0, False)


async def test_a_call_that_is_given_up_hangs_up(guard, server):
    """At the deadline the connection is closed, so that the teacher can stop working."""
    server.fault = Fault.HANG
    await _failure(guard)
    await asyncio.to_thread(until, lambda: server.cut_off == 1)


async def test_a_retry_heals_a_connection_lost_while_idle(guard, server):
    """A server that dropped its idle connections is asked again, and answers."""
    await guard.ask(TEXT, deadline=time.monotonic() + 5)
    server.fault = Fault.RESET
    call = asyncio.create_task(guard.ask(TEXT, deadline=time.monotonic() + 5))
    while not server.seen[Fault.RESET]:
        await asyncio.sleep(0.001)
    server.fault = Fault.NONE
    assert (await call).attempts == 2


async def test_a_flood_keeps_the_cap_at_the_server(guard, server):
    """200 unsure texts at once: the server never sees more than the cap, everyone is answered."""
    server.fault = Fault.HANG
    deadline = time.monotonic() + 3.0
    calls = [guard.ask(TEXT, deadline=deadline) for _ in range(200)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    reasons = Counter(error.reason for error in errors)
    assert reasons == {Reason.TEACHER_BUSY: 196, Reason.TEACHER_TIMEOUT: 4}
    assert server.seen[Fault.HANG] == 4


@pytest.mark.e2e
async def test_a_storm_of_429_stays_within_the_retry_budget_and_opens_the_breaker(server):
    """A burst of 429: retries at most 10 % + reserve, most calls never reach the server."""
    teacher = _teacher(server.url)
    rng = random.Random(2)
    throttle = AdaptiveThrottle(window_s=1.0, rng=rng)
    guard = EscalationGuard(teacher, max_concurrency=8, throttle=throttle, rng=rng)
    server.fault = Fault.THROTTLE
    reasons = Counter()
    ends = time.monotonic() + 1.5
    while time.monotonic() < ends:
        try:
            await guard.ask(TEXT, deadline=time.monotonic() + 1.0)
        except EscalationFailed as error:
            reasons[error.reason] += 1
        await asyncio.sleep(0.005)
    calls = sum(reasons.values())
    first_attempts = calls - reasons[Reason.BREAKER_OPEN]
    assert server.seen[Fault.THROTTLE] - first_attempts <= 3 + 0.1 * first_attempts
    assert reasons[Reason.BREAKER_OPEN] > 0.5 * calls
    server.fault = Fault.NONE
    healed = 0
    ends = time.monotonic() + 15.0
    while healed < 20 and time.monotonic() < ends:
        try:
            await guard.ask(TEXT, deadline=time.monotonic() + 1.0)
            healed += 1
        except EscalationFailed:
            healed = 0
        await asyncio.sleep(0.005)
    assert healed == 20
    await teacher.aclose()
