"""What is not the task's goes to the teacher untouched and comes back as it arrives.

The bytes of the request and of the answer are not changed; what the answer says of itself (tokens,
model) is read on the way, for the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

import aiohttp

from router.api.way_back import WayBack
from router.clock import Clock
from router.errors import Overloaded, Refusal, Unavailable
from router.http.hot_route import Call
from router.pipeline import Ask, Pipeline
from router.policy import Reason, Route
from router.teacher.bill import Bill
from router.teacher.headers import headers_there
from router.teacher.usage_reader import UsageReader
from students.task import TeacherSection
from students.teachers.client import api_headers, openai_url

log = logging.getLogger(__name__)
SURFACE = "chat"
CONNECT_S = 5.0


class Passthrough:
    """Forwards chat completions to one chat teacher, within its concurrency limit.

    The teacher's address comes from the task file only; redirects and proxies are not followed.
    """

    def __init__(self, section: TeacherSection, pipeline: Pipeline, clock: Clock) -> None:
        self._url = openai_url(section, "/chat/completions")
        self._key = api_headers(section)
        self._read_s = section.timeout_s
        self._pipeline = pipeline
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def forward(self, call: Call, *, streams: bool) -> None:
        """Send the request on and its answer back; `streams`: it asks for a stream.

        Raises:
            Overloaded: the teacher has as many calls as it may have.
            Unavailable: it cannot be reached.
        """
        key = call.key.name if call.key else ""
        ask = Ask(call.body.decode("utf-8", "replace"), call.request_id, SURFACE, key=key)
        bulkhead = self._pipeline.guard.bulkhead
        if not await bulkhead.acquire():
            self._book(ask, call, Bill(), Reason.TEACHER_BUSY)
            raise _because(Overloaded("The teacher is busy; retry later."), Reason.TEACHER_BUSY)
        try:
            await self._exchange(ask, call, streams)
        finally:
            bulkhead.release()

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, ask: Ask, call: Call, streams: bool) -> None:
        bill = Bill(attempts=1)
        failed: Reason | None = Reason.CLIENT_GONE
        sent = True

        def cost() -> Decimal | None:
            if back.status in (None, 200):  # the teacher's own refusal used nothing
                _count(bill, call.body, back.reader)
            return self._pipeline.teacher_usd(bill)

        back = WayBack(call, self._pipeline.slot.current.bundle, cost, self._clock)
        headers = headers_there(call.headers, call.request_id, self._key, streams=streams)
        try:
            async with self._client().post(
                self._url, data=call.body, headers=headers, allow_redirects=False
            ) as response:
                await back.start(response, Route.TEACHER, Reason.PASSTHROUGH)
                async for chunk in response.content.iter_any():
                    await back.send(chunk)
                await back.end()
            failed = None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failed = _reason_of(error)
            log.warning("passthrough %s failed: %s", call.request_id, type(error).__name__)
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            if not back.started:
                raise _because(Unavailable("The teacher cannot be reached."), failed) from error
        finally:
            if sent:
                cost()
            self._book(ask, call, bill, failed)

    def _book(self, ask: Ask, call: Call, bill: Bill, failed: Reason | None) -> None:
        self._pipeline.book_passthrough(ask, bill, call.received_at, failed)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_S, sock_read=self._read_s
                ),
                auto_decompress=False,
                skip_auto_headers=("accept", "content-type", "user-agent"),
                trust_env=False,
            )
        return self._session


def _count(bill: Bill, question: bytes, reader: UsageReader) -> None:
    """Put on the bill what the call used so far."""
    reported = reader.usage
    bill.usage = reported or reader.estimate(question)
    bill.estimated = reported is None


def _reason_of(error: Exception) -> Reason:
    timed_out = isinstance(error, (TimeoutError, asyncio.TimeoutError))
    return Reason.TEACHER_TIMEOUT if timed_out else Reason.TEACHER_UNAVAILABLE


def _because(refusal: Refusal, reason: Reason) -> Refusal:
    refusal.reason = reason.value
    return refusal
