"""The guard of calls that are passed on: their words are the client's, the teacher is everybody's.

As for escalations: a healthy teacher (Retry-After, throttle) · a slot · one attempt, observed,
judged and billed. Unlike them: slots of their own, since a chat takes minutes, and times of their
own: until the first byte, and between bytes. There is no retry: the client has one, and an answer
of which a part is on its way cannot be taken back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp

from router.clock import Clock
from router.policy import Reason
from router.teacher.bill import Bill, Outcome
from router.teacher.bulkhead import Bulkhead
from router.teacher.guard import EscalationFailed
from router.teacher.health import TeacherHealth
from router.teacher.usage_reader import UsageReader
from students.sections import TeacherSection
from students.teachers.client import open_session, openai_url, retry_after_s

CONNECT_S = 5.0
FIRST_BYTE_S = 600.0
PAUSE_S = 300.0
MAX_WAIT_S = 1.0
"""How long a call may wait for a slot."""


class Back(Protocol):
    """Where an answer goes."""

    reader: UsageReader

    async def start(self, response: aiohttp.ClientResponse, failed: Reason | None) -> None:
        """Take the head; `failed` says what a refusal of the teacher is."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Take a part of the body."""
        ...

    async def end(self) -> None:
        """There is no more."""
        ...


class PassGuard:
    """Passes calls on to one chat teacher.

    The teacher's address comes from the task file only; redirects are not followed.

    Args:
        health: what those who escalate know of the teacher, too.
        max_concurrency: calls in flight at most.
        first_byte_s: until the teacher begins to answer.
        pause_s: between two parts of an answer.
    """

    def __init__(
        self,
        section: TeacherSection,
        health: TeacherHealth,
        *,
        max_concurrency: int = 8,
        first_byte_s: float = FIRST_BYTE_S,
        pause_s: float = PAUSE_S,
        max_wait_s: float = MAX_WAIT_S,
        clock: Clock = time.monotonic,
    ) -> None:
        self.bulkhead = Bulkhead(max_concurrency)
        self.first_byte_s = first_byte_s
        self.pause_s = pause_s
        self._section = section
        self._health = health
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        path: str,
        question: bytes,
        headers: Sequence[tuple[str, str]],
        back: Back,
        bill: Bill,
        priority: int = 0,
    ) -> Reason | None:
        """Ask at a path below the base URL, and send the answer `back`.

        Returns:
            Why the teacher refused, where it did.

        `bill` is kept up to date also when the call is cancelled.

        Raises:
            EscalationFailed: it gave no answer, or not all of it.
        """
        if self._health.closed_s > 0:
            raise EscalationFailed(Reason.TEACHER_THROTTLED, bill, self._health.closed_s)
        if not await self.bulkhead.acquire(self._max_wait_s, priority):
            raise EscalationFailed(Reason.TEACHER_BUSY, bill)
        try:
            if self._health.throttle.refuses():
                raise EscalationFailed(Reason.BREAKER_OPEN, bill)
            return await self._attempt(path, question, headers, back, bill)
        finally:
            self.bulkhead.release()

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(
        self, path: str, question: bytes, headers: Sequence[tuple[str, str]], back: Back, bill: Bill
    ) -> Reason | None:
        started, outcome, sent = self._clock(), Outcome.CANCELLED, True
        bill.attempts += 1
        try:
            async with self._answer(path, question, headers) as response:
                said = outcome_of(response.status)
                failed = REASONS[said]
                sent = failed is None  # what the teacher refuses it does not bill
                if said is Outcome.THROTTLED:
                    self._health.close_door(retry_after_s(response.headers.get("Retry-After")))
                await back.start(response, failed)
                while chunk := await self._part(response):
                    await back.send(chunk)
            outcome = said
        except TimeoutError as error:
            outcome = Outcome.TIMEOUT
            raise EscalationFailed(Reason.TEACHER_TIMEOUT, bill) from error
        except (aiohttp.ClientError, OSError) as error:
            outcome = Outcome.UNAVAILABLE
            sent = sent and not isinstance(error, NEVER_SENT)
            raise EscalationFailed(Reason.TEACHER_UNAVAILABLE, bill) from error
        finally:
            if sent:
                count(bill, question, back.reader)
            self._health.record(outcome, self._clock() - started)
        await back.end()
        return failed

    @asynccontextmanager
    async def _answer(
        self, path: str, question: bytes, headers: Sequence[tuple[str, str]]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = openai_url(self._section, path)
        asking = self._open().post(url, data=question, headers=headers, allow_redirects=False)
        async with asyncio.timeout(self.first_byte_s):
            response = await asking
        async with response:
            yield response

    async def _part(self, response: aiohttp.ClientResponse) -> bytes:
        async with asyncio.timeout(self.pause_s):
            return await response.content.readany()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(
                self._section,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                auto_decompress=False,
                skip_auto_headers=("accept", "content-type", "user-agent"),
            )
        return self._session


NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
REASONS: dict[Outcome, Reason | None] = {
    Outcome.OK: None,
    Outcome.THROTTLED: Reason.TEACHER_THROTTLED,
    Outcome.UNAVAILABLE: Reason.TEACHER_UNAVAILABLE,
    Outcome.REJECTED: Reason.TEACHER_REJECTED,
}


def outcome_of(status: int) -> Outcome:
    """Say what a status means, as `students.teachers.client` does for escalations."""
    if status < 300:
        return Outcome.OK
    if status == 429:
        return Outcome.THROTTLED
    down = (status >= 500 and status != 501) or status == 408
    return Outcome.UNAVAILABLE if down else Outcome.REJECTED


def count(bill: Bill, question: bytes, reader: UsageReader) -> None:
    """Put on the bill what the call used so far."""
    reported = reader.usage
    bill.usage = reported or reader.estimate(question)
    bill.estimated = reported is None
    bill.model = reader.model or bill.model
