"""The guarded teacher call: whatever the teacher does, an answer or a named reason by the deadline.

In order: time left? · a slot (bulkhead) · a healthy teacher (adaptive throttle, Retry-After) · one
attempt · at most one retry, if the retry budget pays for it and time is left. Escalation is where
overload is amplified, so every one of these refuses early and says why.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from costmodel.money.pricing import NO_USAGE, TokenUsage
from router.clock import Clock
from router.policy import Reason
from router.teacher.adaptive_limit import AdaptiveLimit
from router.teacher.bill import Bill, Outcome
from router.teacher.bulkhead import Bulkhead
from router.teacher.health import AttemptObserver, TeacherHealth
from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.teacher.usual_cost import Typical
from students.errors import (
    TeacherError,
    TeacherGarbled,
    TeacherRefused,
    TeacherRejected,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.teachers.client import ANSWERED_AS
from students.teachers.idempotency import attempt_at, new_call
from students.teachers.protocol import Teacher, TeacherReply


@dataclass(frozen=True, slots=True)
class Escalated:
    """The teacher answered. `usage` covers every attempt, the failed ones too."""

    reply: TeacherReply
    attempts: int
    usage: TokenUsage
    estimated: bool = False


class EscalationFailed(Exception):
    """No answer from the teacher; what the attempts consumed all the same stands on the bill."""

    def __init__(self, reason: Reason, bill: Bill, retry_after_s: float | None = None) -> None:
        super().__init__(f"the teacher gave no answer: {reason}")
        self.reason = reason
        self.bill = bill
        self.retry_after_s = retry_after_s

    @property
    def attempts(self) -> int:
        """Attempts made."""
        return self.bill.attempts

    @property
    def usage(self) -> TokenUsage:
        """What the attempts consumed."""
        return self.bill.usage

    @property
    def estimated(self) -> bool:
        """Whether a part of `usage` is an estimate."""
        return self.bill.estimated


class EscalationGuard:
    """Asks one teacher on behalf of everybody.

    Args:
        teacher: who is asked; it makes no retries of its own.
        max_concurrency: calls in flight at most; fewer while the teacher is congested (`limit`).
        timeout_s: one attempt and its retry together, at most.
        max_wait_s: how long a call may wait for a slot before it is TEACHER_BUSY.
        usage_of_lost: what an attempt consumed whose reply never arrived (a tokenizer knows best);
            by default a line through what this teacher's recent answers used by length of text.
        hedge: ask a second time, in parallel, once an answer takes longer than 95 % of the recent
            ones, if a slot is free and the retry budget pays for it; the first answer wins, the
            other call is cancelled and billed.
        keyed: the teacher takes idempotency keys: a retry of an attempt that was lost is the same
            call, billed once. A hedge is another one.
        observe: told of every attempt (metrics).
        answered_as: told of the model that an answer says it is of, whenever one does.
        clock: monotonic seconds; deadlines are read on it.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        max_concurrency: int = 8,
        timeout_s: float = 10.0,
        max_wait_s: float = 0.05,
        throttle: AdaptiveThrottle | None = None,
        retries: RetryBudget | None = None,
        limit: AdaptiveLimit | None = None,
        hedge: bool = False,
        keyed: bool = False,
        usage_of_lost: Callable[[str], TokenUsage] | None = None,
        observe: AttemptObserver | None = None,
        answered_as: Callable[[str], None] = lambda model: None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.teacher = teacher
        self.bulkhead = Bulkhead(max_concurrency)
        self.timeout_s = timeout_s
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        throttle = throttle or AdaptiveThrottle(clock=clock, rng=self._rng)
        self.health = TeacherHealth(throttle, clock, observe)
        self._retries = retries or RetryBudget()
        self._limit = limit or AdaptiveLimit(
            max_concurrency, slow_s=SLOW_SHARE * timeout_s, min_limit=max(1, max_concurrency // 8)
        )
        self._hedge = hedge
        self._new_call = new_call if keyed else str
        self._answered_as = answered_as
        self._typical = Typical()
        self._usage_of_lost = usage_of_lost or self._typical.usage

    @property
    def throttle(self) -> AdaptiveThrottle:
        """Draws which calls must not be sent."""
        return self.health.throttle

    @property
    def inflight(self) -> int:
        """Calls in flight."""
        return self.bulkhead.inflight

    async def ask(
        self, text: str, *, deadline: float, bill: Bill | None = None, priority: int = 0
    ) -> Escalated:
        """Ask about one text until `deadline`, a moment on the guard's clock.

        `bill`, when given, is kept up to date also when the call is cancelled.

        Raises:
            EscalationFailed: with its reason, the attempts made and what they consumed.
        """
        bill = bill if bill is not None else Bill()
        deadline = min(deadline, self._clock() + self.timeout_s)
        if deadline <= self._clock():
            raise EscalationFailed(Reason.DEADLINE, bill)
        self._refuse_if_closed(bill)
        wait_s = min(self._max_wait_s, deadline - self._clock())
        if not await self.bulkhead.acquire(wait_s, priority):
            raise EscalationFailed(Reason.TEACHER_BUSY, bill)
        try:
            self._refuse_if_closed(bill)
            if self.throttle.refuses():
                raise EscalationFailed(Reason.BREAKER_OPEN, bill)
            reply = await self._attempt_twice(text, deadline, bill)
        finally:
            self.bulkhead.release()
        return Escalated(reply, bill.attempts, bill.usage, bill.estimated)

    def _refuse_if_closed(self, bill: Bill) -> None:
        if self.health.closed_s > 0:
            raise EscalationFailed(Reason.TEACHER_THROTTLED, bill, self.health.closed_s)

    async def _attempt_twice(self, text: str, deadline: float, bill: Bill) -> TeacherReply:
        self._retries.deposit()
        call, before = self._new_call(), (bill.usage, bill.estimated)
        try:
            return await self._attempt_hedged(text, deadline, bill, call)
        except (TeacherUnavailable, TeacherThrottled) as error:
            pause_s = self._pause_before_retry(error)
            hedged = bill.attempts > 1
            if hedged or self._clock() + pause_s + self._typical.seconds >= deadline:
                raise EscalationFailed(failure_of(error)[1], bill, _retry_after(error)) from error
            if not self._retries.withdraw():
                raise EscalationFailed(Reason.RETRY_BUDGET, bill, _retry_after(error)) from error
            lost = bool(call) and error.usage is None
            call = self._new_call() if error.kept else call
        except TeacherError as error:
            raise EscalationFailed(failure_of(error)[1], bill) from error
        await self._sleep(pause_s)
        guessed = bill.usage, bill.estimated
        if lost:  # the call that is made again is not another one
            bill.usage, bill.estimated = before
        try:
            return await self._attempt(text, deadline, bill, call)
        except TeacherError as error:
            if lost and error.usage == NO_USAGE:  # that says nothing of the attempt before it
                bill.usage, bill.estimated = guessed
            raise EscalationFailed(failure_of(error)[1], bill, _retry_after(error)) from error

    async def _attempt_hedged(
        self, text: str, deadline: float, bill: Bill, call: str
    ) -> TeacherReply:
        """Make one attempt, and where that is wanted a second one beside a slow first."""
        slow_s = self._typical.slow_s if self._hedge else None
        if slow_s is None:
            return await self._attempt(text, deadline, bill, call)
        calls = [asyncio.create_task(self._attempt(text, deadline, bill, call))]
        try:
            await asyncio.wait(calls, timeout=slow_s)
            if not calls[0].done() and await self._may_hedge():
                hedge = self._attempt(text, deadline, bill, self._new_call())
                calls.append(asyncio.create_task(hedge))
                calls[1].add_done_callback(lambda _: self.bulkhead.release())
            return await _first_answer(calls)
        finally:
            for attempt in calls:
                attempt.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _may_hedge(self) -> bool:
        if not await self.bulkhead.acquire():
            return False
        if not self._retries.withdraw():
            self.bulkhead.release()
            return False
        return True

    def _pause_before_retry(self, error: TeacherUnavailable | TeacherThrottled) -> float:
        jitter_s = self._rng.uniform(0.0, RETRY_JITTER_S)
        return (_retry_after(error) or 0.0) + jitter_s

    async def _attempt(self, text: str, deadline: float, bill: Bill, call: str) -> TeacherReply:
        """Make one attempt; whatever happens, it is billed, observed and judged."""
        started = self._clock()
        allowed_s = deadline - started
        outcome = Outcome.CANCELLED
        usage: TokenUsage | None = None
        bill.attempts += 1
        named: list[str] = []
        names = ANSWERED_AS.set(named)
        try:
            with attempt_at(call):
                async with asyncio.timeout(allowed_s):
                    # The grace makes this deadline, not the client's, the one that strikes.
                    [reply] = await self.teacher.label([text], timeout_s=allowed_s + GRACE_S)
            outcome, usage = Outcome.OK, reply.usage
            self._typical.learn(text, usage, self._clock() - started)
            return reply
        except TimeoutError as error:
            outcome = Outcome.TIMEOUT
            raise EscalationFailed(Reason.TEACHER_TIMEOUT, bill) from error
        except TeacherError as error:
            outcome, usage = failure_of(error)[0], error.usage
            self.health.close_door(_retry_after(error))
            raise
        except Exception as error:
            outcome = Outcome.GARBLED
            log.exception("the teacher's client failed in a way it does not declare")
            raise TeacherGarbled(f"{type(error).__name__} in the teacher's client") from error
        finally:
            ANSWERED_AS.reset(names)
            if named:
                bill.model = named[-1]
                self._answered_as(bill.model)
            if usage is None or (usage.requests and not usage.input_tokens):
                bill.estimated, usage = True, self._usage_of_lost(text)
            bill.usage += usage
            self._judge(outcome, self._clock() - started, allowed_s)

    def _judge(self, outcome: Outcome, seconds: float, allowed_s: float) -> None:
        """Tell all who ask and the limit, unless it says nothing of the teacher's health.

        A client that left says nothing; nor does a time-out after less time than the teacher
        normally takes: else callers in a hurry could close the door for everybody.
        """
        hurried = outcome is Outcome.TIMEOUT and allowed_s < 2 * self._typical.seconds
        self.health.record(outcome, seconds, proves=not hurried)
        if hurried or outcome is Outcome.CANCELLED:
            return
        congested = outcome in (Outcome.TIMEOUT, Outcome.THROTTLED, Outcome.UNAVAILABLE)
        self.bulkhead.limit = self._limit.record(seconds, self.inflight, congested)


SLOW_SHARE = 0.8
"""An answer that took this share of the time-out is a sign of congestion."""
RETRY_JITTER_S = 0.05
GRACE_S = 1.0
"""Seconds that the teacher's own client is given beyond the deadline; it never gets to use them."""
_FAILURES: dict[type[TeacherError], tuple[Outcome, Reason]] = {
    TeacherTimeout: (Outcome.TIMEOUT, Reason.TEACHER_TIMEOUT),
    TeacherUnavailable: (Outcome.UNAVAILABLE, Reason.TEACHER_UNAVAILABLE),
    TeacherThrottled: (Outcome.THROTTLED, Reason.TEACHER_THROTTLED),
    TeacherRefused: (Outcome.REJECTED, Reason.TEACHER_REFUSED),
    TeacherRejected: (Outcome.REJECTED, Reason.TEACHER_REJECTED),
    TeacherGarbled: (Outcome.GARBLED, Reason.TEACHER_GARBLED),
}
log = logging.getLogger(__name__)


async def _first_answer(calls: Sequence[asyncio.Task[TeacherReply]]) -> TeacherReply:
    """Return the first answer; when there is none, raise what the first call raised."""
    pending = set(calls)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for call in done:
            if call.exception() is None:
                return call.result()
    return calls[0].result()


def failure_of(error: TeacherError) -> tuple[Outcome, Reason]:
    """Return how an attempt that raised this ended, and the reason of a request without answer."""
    for kind, names in _FAILURES.items():
        if isinstance(error, kind):
            return names
    return Outcome.UNAVAILABLE, Reason.TEACHER_UNAVAILABLE


def _retry_after(error: TeacherError) -> float | None:
    return error.retry_after_s if isinstance(error, TeacherThrottled) else None
