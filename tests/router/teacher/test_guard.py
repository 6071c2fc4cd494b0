"""The guarded teacher call."""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from itertools import chain, repeat

import pytest

from costmodel.money.pricing import NO_USAGE, TokenUsage
from router.policy import Reason
from router.teacher.bill import Bill, Outcome
from router.teacher.guard import EscalationFailed, EscalationGuard
from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.testing import ManualClock
from students.errors import (
    TeacherGarbled,
    TeacherRefused,
    TeacherRejected,
    TeacherThrottled,
    TeacherUnavailable,
)
from students.labels import LabelSchema
from students.teachers.idempotency import KEYS
from students.testing import ScriptedTeacher

SCHEMA = LabelSchema.of(["urgent", "not urgent"])

TEXT = "we need water and food here"
USAGE = TokenUsage(6, 1)


def _guard_of(*acts, **options):
    """A guard whose teacher acts out faults, one a call; the last one for ever."""
    options.setdefault("usage_of_lost", lambda text: USAGE)
    options.setdefault("rng", random.Random(3))
    faults = chain(acts, repeat(acts[-1] if acts else None))
    teacher = ScriptedTeacher(SCHEMA, "urgent", faults=faults, usage=USAGE)
    return EscalationGuard(teacher, **options)


def _soon(seconds=1.0):
    return time.monotonic() + seconds


async def _failure(guard, deadline=None, **options):
    with pytest.raises(EscalationFailed) as caught:
        await guard.ask(TEXT, deadline=deadline or _soon(), **options)
    return caught.value


def _gone(usage=NO_USAGE):
    return TeacherUnavailable("connection refused", usage=usage)


async def test_answer_carries_the_reply_and_its_usage():
    """A healthy teacher is asked once and billed once."""
    guard = _guard_of()
    answer = await guard.ask(TEXT, deadline=_soon())
    assert (answer.reply.wording, answer.attempts) == ("urgent", 1)
    assert answer.usage == USAGE
    assert not answer.estimated


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TeacherRejected("400"), Reason.TEACHER_REJECTED),
        (TeacherRefused("content_filter"), Reason.TEACHER_REFUSED),
        (TeacherGarbled("no label"), Reason.TEACHER_GARBLED),
        (_gone(), Reason.TEACHER_UNAVAILABLE),
        (TeacherThrottled("429"), Reason.TEACHER_THROTTLED),
        (RuntimeError("a bug in a client"), Reason.TEACHER_GARBLED),
    ],
)
async def test_every_failure_has_its_name(error, reason):
    """Each kind of teacher error ends as its own reason, an undeclared one too."""
    assert (await _failure(_guard_of(error))).reason is reason


async def test_one_retry_heals_one_fault():
    """A lost connection is asked again, once, and the answer counts both attempts."""
    guard = _guard_of(_gone(), None)
    answer = await guard.ask(TEXT, deadline=_soon())
    assert answer.attempts == 2


async def test_there_is_no_second_retry():
    """Two faults in a row end the call."""
    guard = _guard_of(_gone(), _gone(), None)
    assert (await _failure(guard)).attempts == 2


@pytest.mark.parametrize("error", [TeacherRejected("400"), TeacherGarbled("?")])
async def test_what_asking_again_cannot_help_is_not_asked_again(error):
    """A refusal and a garbled reply are final."""
    guard = _guard_of(error, None)
    assert (await _failure(guard)).attempts == 1


async def test_no_retry_without_time_for_an_answer():
    """When less time is left than an answer normally takes, the first failure stands."""
    guard = _guard_of(0.08, _gone(), None)
    await guard.ask(TEXT, deadline=_soon())
    error = await _failure(guard, deadline=_soon(0.07))
    assert (error.reason, error.attempts) == (Reason.TEACHER_UNAVAILABLE, 1)


async def test_retries_stay_within_their_budget():
    """With a dead teacher, retries are at most reserve + ratio * calls; the rest says why."""
    guard = _guard_of(
        _gone(),
        retries=RetryBudget(ratio=0.1, reserve=3.0),
        throttle=AdaptiveThrottle(min_requests=10**9),
    )
    errors = [await _failure(guard) for _ in range(50)]
    attempts = len(guard.teacher.calls)
    assert attempts - 50 <= 3 + 0.1 * 50
    assert attempts > 50
    assert Counter(e.reason for e in errors)[Reason.RETRY_BUDGET] == 50 - (attempts - 50)


async def test_a_deadline_ends_a_call_that_is_not_answered():
    """Not before it is there, and long before the teacher answers; the loss is estimated."""
    guard = _guard_of(3600.0)
    deadline = _soon(0.1)
    error = await _failure(guard, deadline=deadline)
    assert time.monotonic() >= deadline
    assert error.reason is Reason.TEACHER_TIMEOUT
    assert (error.usage, error.estimated) == (USAGE, True)


async def test_own_timeout_bounds_a_far_deadline():
    """`timeout_s` holds also when the caller would wait longer."""
    guard = _guard_of(3600.0, timeout_s=0.05)
    assert (await _failure(guard, deadline=_soon(7200.0))).reason is Reason.TEACHER_TIMEOUT


async def test_a_deadline_in_the_past_asks_nobody():
    """No time left means no attempt and no bill."""
    guard = _guard_of()
    error = await _failure(guard, deadline=time.monotonic() - 0.001)
    assert (error.reason, error.attempts, error.usage) == (Reason.DEADLINE, 0, NO_USAGE)


async def test_flood_never_exceeds_the_cap():
    """100 callers at once: 3 in flight at most, everyone answered or told BUSY."""
    guard = _guard_of(0.02, max_concurrency=3, max_wait_s=0.0)
    peak = 0

    async def call():
        nonlocal peak
        try:
            await guard.ask(TEXT, deadline=_soon())
        except EscalationFailed as error:
            return error.reason
        finally:
            peak = max(peak, guard.inflight)
        return None

    reasons = Counter(await asyncio.gather(*(call() for _ in range(100))))
    assert reasons == {None: 3, Reason.TEACHER_BUSY: 97}
    assert (peak, guard.inflight) == (3, 0)


async def test_dead_teacher_opens_the_breaker_and_a_living_one_closes_it():
    """Most calls are refused without an attempt while the teacher is dead; later none are."""
    clock = ManualClock()
    guard = _guard_of(_gone(), clock=clock, sleep=clock.sleep)
    for _ in range(100):
        clock.now += 0.01
        last = await _failure(guard, deadline=clock.now + 1)
    assert len(guard.teacher.calls) < 50
    guard.teacher = ScriptedTeacher(SCHEMA, "urgent", usage=USAGE)
    for _ in range(200):
        clock.now += 0.1
        try:
            last = await guard.ask(TEXT, deadline=clock.now + 1)
        except EscalationFailed as error:
            last = error
    assert not isinstance(last, EscalationFailed)
    assert guard.throttle.refusal_probability == 0.0


async def test_retry_after_holds_for_everybody():
    """A 429 with Retry-After closes the door to all callers until then, and not longer."""
    clock = ManualClock()
    guard = _guard_of(TeacherThrottled("429", 5.0), None, clock=clock, sleep=clock.sleep)
    first = await _failure(guard, deadline=clock.now + 1)
    assert (first.reason, first.attempts, first.retry_after_s) == (Reason.TEACHER_THROTTLED, 1, 5.0)
    clock.now += 4.9
    second = await _failure(guard, deadline=clock.now + 1)
    assert (second.reason, second.attempts) == (Reason.TEACHER_THROTTLED, 0)
    clock.now += 0.2
    assert (await guard.ask(TEXT, deadline=clock.now + 1)).attempts == 1


async def test_retry_waits_as_long_as_it_was_told():
    """With time enough, the retry comes after Retry-After, not before."""
    clock = ManualClock()
    guard = _guard_of(TeacherThrottled("429", 2.0), None, clock=clock, sleep=clock.sleep)
    started = clock.now
    answer = await guard.ask(TEXT, deadline=started + 9)
    assert answer.attempts == 2
    assert clock.now - started >= 2.0


async def test_cancelled_call_is_billed_and_frees_its_slot():
    """A client that leaves stops the call; the attempt stands on its bill and on the metrics."""
    seen = []
    guard = _guard_of(60.0, max_concurrency=1, observe=lambda outcome, _: seen.append(outcome))
    bill = Bill()
    call = asyncio.create_task(guard.ask(TEXT, deadline=_soon(), bill=bill))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert bill == Bill(1, USAGE, estimated=True)
    assert (seen, guard.inflight) == ([Outcome.CANCELLED], 0)
    assert guard.throttle.refusal_probability == 0.0


async def test_known_and_unknown_usage_of_failures():
    """A refused connection costs nothing, a lost reply is estimated, a known one is known."""
    refused = await _failure(_guard_of(_gone(), timeout_s=0.01))
    assert (refused.usage, refused.estimated) == (NO_USAGE, False)
    lost = await _failure(_guard_of(TeacherGarbled("cut off")))
    assert (lost.usage, lost.estimated) == (USAGE, True)
    known = await _failure(_guard_of(TeacherGarbled("wrong word", usage=TokenUsage(9, 9))))
    assert (known.usage, known.estimated) == (TokenUsage(9, 9), False)


async def test_the_estimate_follows_the_length_of_the_text():
    """Overhead of the prompt plus tokens per character are learnt from answers of some lengths."""
    guard = _guard_of(usage_of_lost=None)
    for n in (10, 40, 25, 60, 80, 15):
        guard.teacher.usage = TokenUsage(30 + n, 1)
        await guard.ask("x" * 4 * n, deadline=_soon())
    guard.teacher = ScriptedTeacher(SCHEMA, "urgent", faults=repeat(60.0))
    with pytest.raises(EscalationFailed) as caught:
        await guard.ask("x" * 4 * 50, deadline=_soon(0.01))
    assert abs(caught.value.usage.input_tokens - 80) <= 1


async def test_an_answer_without_a_count_is_estimated():
    """A 200 that reports no tokens was not free: a normal answer is billed, and marked."""
    guard = _guard_of()
    guard.teacher.usage = TokenUsage()
    answer = await guard.ask(TEXT, deadline=_soon())
    assert (answer.usage, answer.estimated) == (USAGE, True)


async def test_hurried_callers_cannot_close_the_door():
    """Time-outs after less time than an answer normally takes do not count against the teacher."""
    guard = _guard_of(0.03)
    for _ in range(3):
        await guard.ask(TEXT, deadline=_soon())
    for _ in range(30):
        error = await _failure(guard, deadline=_soon(0.002))
        assert error.reason is Reason.TEACHER_TIMEOUT
    assert guard.throttle.refusal_probability == 0.0


async def test_a_hanging_teacher_does_close_the_door():
    """Time-outs after ample time do count."""
    guard = _guard_of(60.0, timeout_s=0.005)
    reasons = Counter([(await _failure(guard)).reason for _ in range(40)])
    assert reasons[Reason.BREAKER_OPEN] > 10


async def test_lost_usage_is_estimated_from_normal_answers():
    """Without a tokenizer, what was lost is what answers of that length normally use."""
    guard = _guard_of(None, None, None, 60.0, usage_of_lost=None)
    for _ in range(3):
        await guard.ask(TEXT, deadline=_soon())
    error = await _failure(guard, deadline=_soon(0.01))
    assert (error.usage, error.estimated) == (USAGE, True)


async def _warm(guard, seconds=0.005):
    """Twenty normal answers, so that it is known what slow is."""
    guard.teacher.latency_s = seconds
    for _ in range(20):
        await guard.ask(TEXT, deadline=_soon())


async def test_hedge_answers_when_the_first_call_hangs_and_bills_both():
    """A late answer is asked for again; the loser is cancelled and stands on the bill."""
    guard = _guard_of(*[None] * 20, 60.0, None, hedge=True, max_concurrency=4)
    await _warm(guard)
    answer = await guard.ask(TEXT, deadline=_soon(30.0))  # the first call takes 60
    assert (answer.attempts, answer.usage, answer.estimated) == (2, USAGE + USAGE, True)
    assert guard.inflight == 0


async def test_no_hedge_without_a_free_slot_or_budget():
    """Hedging keeps the cap and the retry budget; then the first call decides alone."""
    for options in ({"max_concurrency": 1}, {"retries": RetryBudget(ratio=0.0, reserve=0.0)}):
        guard = _guard_of(*[None] * 20, 0.2, hedge=True, **options)
        await _warm(guard)
        answer = await guard.ask(TEXT, deadline=_soon(2.0))
        assert answer.attempts == 1


async def test_a_cancelled_hedge_bills_both_calls_and_frees_both_slots():
    """A client that leaves during a hedge stops both calls."""
    guard = _guard_of(*[None] * 20, 60.0, hedge=True, max_concurrency=4)
    await _warm(guard)
    bill = Bill()
    call = asyncio.create_task(guard.ask(TEXT, deadline=_soon(5.0), bill=bill))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (bill.attempts, bill.usage) == (2, USAGE + USAGE)
    assert guard.inflight == 0


async def test_a_hedged_call_that_fails_twice_is_named_by_the_first():
    """Two failures side by side are one failure, with both attempts counted."""
    guard = _guard_of(*[None] * 20, 60.0, TeacherRejected("400"), hedge=True, max_concurrency=4)
    await _warm(guard)
    error = await _failure(guard, deadline=_soon(0.1))
    assert (error.reason, error.attempts) == (Reason.TEACHER_TIMEOUT, 2)


def _keyed(guard):
    """Note the key that each call of a guard's teacher comes under."""
    keys, label = [], guard.teacher.label

    async def noted(texts, **options):
        keys.append(KEYS.get() and KEYS.get().key("", b""))
        return await label(texts, **options)

    guard.teacher.label = noted
    return keys


LOST = TeacherUnavailable("cut")


@pytest.mark.parametrize(
    ("keyed", "faults", "calls", "bill", "estimated"),
    [
        (True, [LOST, None], 1, USAGE, False),
        (True, [LOST, LOST], 1, USAGE, True),
        (True, [LOST, _gone()], 1, USAGE, True),
        (True, [LOST, TeacherGarbled("no label", usage=USAGE)], 1, USAGE, False),
        (True, [_gone(), None], 1, USAGE, False),
        (False, [LOST, None], 0, USAGE + USAGE, True),
    ],
)
async def test_a_retry_under_one_key_is_one_call_on_the_bill(keyed, faults, calls, bill, estimated):
    """What was lost is not guessed beside the answer that the same call got."""
    guard = _guard_of(*faults, keyed=keyed)
    keys = _keyed(guard)
    made = Bill()
    with suppress(EscalationFailed):
        await guard.ask(TEXT, deadline=_soon(), bill=made)
    assert len({*keys} - {None}) == calls
    assert (made.attempts, made.usage, made.estimated) == (2, bill, estimated)


async def test_a_kept_failure_a_hedge_and_another_question_are_other_calls():
    """Each has a key of its own."""
    kept = _gone()
    kept.kept = True
    guard = _guard_of(kept, None, *[None] * 20, 60.0, None, keyed=True, hedge=True)
    keys = _keyed(guard)
    await guard.ask(TEXT, deadline=_soon())
    await _warm(guard)
    answer = await guard.ask(TEXT, deadline=_soon(30.0))
    assert answer.attempts == 2
    assert len(keys) == len({*keys}) == 2 + 20 + 2


async def test_congestion_takes_slots_away_and_good_answers_bring_them_back():
    """429s shrink the bulkhead towards its floor; a healthy teacher gets all its slots again."""
    guard = _guard_of(TeacherThrottled("429"), max_concurrency=16, rng=random.Random(1))
    for _ in range(60):
        await _failure(guard, deadline=_soon(0.02))
    assert guard.bulkhead.limit < 8
    guard.teacher = ScriptedTeacher(SCHEMA, "urgent", usage=USAGE, latency_s=0.001)
    guard.health.throttle = AdaptiveThrottle()
    for _ in range(200):
        await asyncio.gather(
            *(guard.ask(TEXT, deadline=_soon()) for _ in range(guard.bulkhead.limit))
        )
    assert guard.bulkhead.limit == 16
