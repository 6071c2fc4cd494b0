"""Asking a teacher many questions: as fast as it lets us, and the only retry loop of labelling."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from costmodel.money.pricing import TokenUsage
from students.errors import (
    TeacherError,
    TeacherStillAnswering,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.label.cache import ReplyCache, text_key
from students.label.patience import Patience, patience_of
from students.label.spending import BrokenCall, Spending
from students.sections import TeacherSection
from students.task import Task
from students.teachers.bounds import usage_bound, usage_guess
from students.teachers.idempotency import attempt_at, new_call
from students.teachers.protocol import ASKED_BEFORE, Teacher, TeacherReply
from students.teachers.usage import is_told

ATTEMPTS = 6
"""Times one question is asked of a teacher that cannot be reached."""
TIMEOUTS = 3
"""Times one text is asked about that is not answered in time; several texts are asked in parts."""
THROTTLES = 20
"""Times one question is asked of a teacher that says 429: waiting does help there."""
_BACKOFF_S = 0.5
_BACKOFF_CAP_S = 30.0
_MAX_RETRY_AFTER_S = 300.0
MOST_DEFERRED = 10_000
"""Questions that wait for batches at once."""
_GRACE_S = 1.0
"""So that this time limit strikes and not the client's own."""

Sleep = Callable[[float], Awaitable[None]]


class CallBook:
    """Writes each call down in the cache before it is made, so that a kill hides none."""

    def __init__(self, cache: ReplyCache, clock: Callable[[], datetime]) -> None:
        self._cache = cache
        self._clock = clock

    def asked(self, texts: Sequence[str], at_most: Decimal, name: str) -> None:
        """A call is about to be made; an answer ends it where it is kept."""
        keys = list(map(text_key, texts))
        self._cache.calls.put_asked(keys, at_most, self._clock(), ASKED_BEFORE.get(), name)

    def broken(self, usd: Decimal, confirmed: bool) -> None:
        """A call cost so much and gave no answer; unconfirmed: it may have cost so much."""
        self._cache.calls.put_broken(usd, confirmed, self._clock())

    def returned(self, texts: Sequence[str]) -> None:
        """A call ended without an answer."""
        self._cache.calls.put_returned(list(map(text_key, texts)), ASKED_BEFORE.get())


class NoCallBook(CallBook):
    """For questions that another journal holds: a batch that a kill left behind is not lost."""

    def asked(self, texts: Sequence[str], at_most: Decimal, name: str) -> None:
        """It is written down where it is sent off."""

    def returned(self, texts: Sequence[str]) -> None:
        """So is its end."""


class Throttle:
    """How many calls may be in flight: halved by a 429 or a time-out, raised by one each round.

    A 429 also holds back every new call until its Retry-After has passed, and a time-out for a
    while: a call that was abandoned is often still computed.
    """

    def __init__(self, limit: int, clock: Callable[[], float], sleep: Sleep) -> None:
        self.limit = float(limit)
        self.in_flight = 0
        self._most = limit
        self._clock = clock
        self._sleep = sleep
        self._resume_at = float("-inf")
        self._freed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self.in_flight < int(self.limit))
            self.in_flight += 1
        while (wait := self._resume_at - self._clock()) > 0:
            await self._sleep(wait)

    async def __aexit__(self, *exception: object) -> None:
        async with self._freed:
            self.in_flight -= 1
            self._freed.notify(max(1, int(self.limit) - self.in_flight))

    def answered(self) -> None:
        """One call went well."""
        self.limit = min(float(self._most), self.limit + 1.0 / self.limit)

    def throttled(self, wait_s: float) -> None:
        """The teacher wants fewer calls, and none for `wait_s` seconds."""
        now = self._clock()
        # One burst of 429s is one message: halve once per pause, not once per call.
        if self._resume_at <= now:
            self.limit = max(1.0, self.limit / 2)
        self._resume_at = max(self._resume_at, now + wait_s)


@dataclass(slots=True)
class _Call:
    """A question until it is known what became of it.

    Attributes:
        name: what its idempotency keys are made of; empty: the teacher takes none, and each attempt
            is a call of its own.
        unconfirmed: what its attempts so far may have cost.
        doubtful: whether nobody knows of one of them whether it was served.
        at_most: what it can cost; None: it is not written down.
        paid: what the last attempt cost; None: nobody knows.
        said: whether the teacher told.
    """

    texts: Sequence[str]
    name: str
    unconfirmed: Decimal = Decimal(0)
    doubtful: bool = False
    at_most: Decimal | None = None
    paid: Decimal | None = None
    said: bool = True

    @property
    def bill(self) -> Decimal | None:
        """What it cost without an answer; None: nobody knows."""
        return None if self.doubtful and not self.paid else self.paid

    @property
    def unsaid(self) -> Decimal:
        """What may have been billed beyond an estimate."""
        if self.said or self.paid is None or self.at_most is None:
            return Decimal(0)
        return max(self.at_most - self.paid, Decimal(0))


class Asker:
    """Asks a few texts at a time: throttled, paid within the budget, retried with jitter.

    `book` is told of every call before it is made, and the bill of one without an answer. `guess`
    is what texts consume where the teacher does not say: that is billed, and what may have been
    billed beyond it, up to the reservation, stays unconfirmed. `keyed`: the teacher takes
    idempotency keys, so that attempts are one call until one of them is answered.
    """

    def __init__(
        self,
        teacher: Teacher,
        spending: Spending,
        throttle: Throttle,
        at_most: Callable[[Sequence[str]], TokenUsage],
        guess: Callable[[Sequence[str]], TokenUsage],
        book: CallBook,
        *,
        keyed: bool = False,
        patience: Patience,
        rng: random.Random,
        sleep: Sleep,
    ) -> None:
        self._teacher = teacher
        self._spending = spending
        self._throttle = throttle
        self._at_most = at_most
        self._guess = guess
        self._book = book
        self._keyed = keyed
        self._patience = patience
        self._rng = rng
        self._sleep = sleep

    @property
    def in_flight(self) -> int:
        """Calls that have not returned yet."""
        return self._throttle.in_flight

    async def ask(
        self, texts: Sequence[str], unended: BrokenCall | None = None
    ) -> list[TeacherReply]:
        """Return one reply for each text. `unended` is the call that asked so before a kill.

        Raises:
            TeacherUnavailable, TeacherThrottled: still so after the last attempt.
            TeacherTimeout: several texts are late once, or one is so for the last time.
            TeacherRejected, TeacherGarbled: asking again would not help.
            BudgetReached: the call could cost more than is left.
        """
        call = _Call(texts, new_call() if self._keyed else "")
        if unended is not None:
            call = _Call(texts, unended.call, unended.usd, doubtful=True)
        try:
            return await self._insist(call)
        except TeacherError:
            await self._give_up(call)
            raise

    async def _insist(self, call: _Call) -> list[TeacherReply]:
        failures = throttles = 0
        while True:
            try:
                async with self._throttle:
                    replies = await self._attempt(call)
                self._throttle.answered()
                return replies
            except TeacherThrottled as error:
                throttles += 1
                if throttles == THROTTLES:
                    raise
                asked = error.retry_after_s
                wait = self._jitter(throttles) if asked is None else min(asked, _MAX_RETRY_AFTER_S)
                # Those who were told the same second must not all come back in it.
                self._throttle.throttled(wait * self._rng.uniform(1.0, 1.1))
            except TeacherTimeout:
                failures += 1
                self._throttle.throttled(self._jitter(failures))
                if len(call.texts) > 1 or failures >= TIMEOUTS:
                    raise
            except TeacherUnavailable as error:
                failures += 1
                waits = isinstance(error, TeacherStillAnswering)
                if failures >= (THROTTLES if waits else ATTEMPTS):
                    raise
                await self._sleep(self._jitter(failures))

    async def _attempt(self, call: _Call) -> list[TeacherReply]:
        reserved = await self._spending.reserve(self._at_most(call.texts), call.unconfirmed)
        call.unconfirmed = Decimal(0)
        if call.at_most is None:
            self._book.asked(call.texts, reserved, call.name)
        call.at_most, call.paid, call.said = reserved, None, True
        try:
            replies = await self._replies(call)
        except BaseException as error:  # also when cancelled: it may have been computed and billed
            if isinstance(error, TeacherError) and error.usage is not None:
                call.said = is_told(error.usage)
                used = error.usage if call.said else self._guess(call.texts)
                call.paid = self._spending.cost(used)
            call.doubtful |= call.paid is None
            if not call.name or (isinstance(error, TeacherError) and error.kept):
                await self._spending.settle(reserved, call.bill, self._written_off(call))
                call.name = new_call() if call.name else ""
                raise
            # What it costs in the end, an attempt will tell that this run makes, or the next one.
            call.unconfirmed = Decimal(0) if call.bill == 0 else reserved
            await self._spending.settle(reserved, None if call.unconfirmed else Decimal(0))
            raise
        if call.unsaid:
            self._book.broken(call.unsaid, False)
        await self._spending.settle(reserved, call.paid, call.unsaid)
        return replies

    async def _replies(self, call: _Call) -> list[TeacherReply]:
        with attempt_at(call.name):
            asked = self._teacher.label(call.texts, timeout_s=self._patience.most_s + _GRACE_S)
            asking = asyncio.ensure_future(asked)
        replies = await self._patience.wait(asking)
        call.said = any(is_told(reply.usage) for reply in replies)
        if not call.said:
            replies = self._estimated(replies, call.texts)
        call.paid = sum(self._spending.costs([r.usage for r in replies]), Decimal(0))
        return replies

    async def _give_up(self, call: _Call) -> None:
        """End a call without an answer, unless that is done."""
        if call.name and call.at_most is not None:
            await self._spending.confirm(call.unconfirmed, call.bill, self._written_off(call))

    def _written_off(self, call: _Call) -> Decimal:
        """Write down the bill of a call without an answer; return what else may be billed."""
        bill = call.bill
        if bill is None:
            self._book.broken(call.at_most or Decimal(0), False)
        elif bill > 0:
            self._book.broken(bill, True)
        unsaid = Decimal(0) if bill is None else call.unsaid
        if unsaid:
            self._book.broken(unsaid, False)
        self._book.returned(call.texts)
        call.at_most, call.doubtful = None, False
        return unsaid

    def _estimated(self, replies: list[TeacherReply], texts: Sequence[str]) -> list[TeacherReply]:
        """Replies of a teacher that did not say what they consumed: an estimate, marked."""
        return [
            replace(reply, usage=self._guess([text]), estimated=True)
            for reply, text in zip(replies, texts, strict=True)
        ]

    def _jitter(self, attempt: int) -> float:
        """Full jitter (Brooker 2015): uniform up to an exponentially growing cap."""
        return self._rng.uniform(0.0, min(_BACKOFF_CAP_S, _BACKOFF_S * 2**attempt))


def asker_of(
    teacher: Teacher,
    task: Task,
    spending: Spending,
    cache: ReplyCache,
    *,
    seed: int,
    clock: Callable[[], datetime],
    timer: Callable[[], float],
    sleep: Sleep,
) -> Asker:
    """Return who asks a task's teacher, live or by batches, and writes down what becomes of it."""
    section = task.teacher
    return Asker(
        teacher,
        spending,
        Throttle(at_once_of(section), timer, sleep),
        usage_bound(task),
        usage_guess(task),
        (NoCallBook if section.batch else CallBook)(cache, clock),
        keyed=section.idempotency_header is not None and not section.batch,
        patience=patience_of(section, timer),
        rng=random.Random(seed),
        sleep=sleep,
    )


def at_once_of(section: TeacherSection) -> int:
    """How many questions may be out at once."""
    return MOST_DEFERRED if section.batch else section.max_concurrency
