"""What is not the task's goes to the teacher untouched and comes back as it arrives.

The bytes of the request and of the answer are not changed and not held back; only the tokens the
answer reports are read on the way, for the ledger.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import msgspec

from costmodel.money.pricing import TokenUsage
from router.errors import ClientGone, Overloaded, Refusal, Unavailable
from router.http.edge import Send
from router.http.hot_route import Call
from router.pipeline import Ask, Pipeline
from router.policy import Reason
from router.student.batcher import Clock
from router.teacher.guard import Bill
from router.teacher.usual_cost import CHARS_PER_TOKEN
from students.task import TeacherSection
from students.teachers.client import api_headers, openai_url

log = logging.getLogger(__name__)
SURFACE = "chat"
CONNECT_S = 5.0
TAIL_BYTES = 65_536
"""Enough of an answer's end to hold the usage of a stream, or all of a short answer."""
_EVENT = b"data: {"
_FORWARDED = (b"accept", b"content-type", b"user-agent", b"authorization")
_RETURNED = ("content-type", "retry-after", "x-request-id", "openai-processing-ms")


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

    async def forward(self, call: Call) -> None:
        """Send the request on and its answer back.

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
            await self._exchange(ask, call)
        finally:
            bulkhead.release()

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, ask: Ask, call: Call) -> None:
        bill = Bill(attempts=1)
        failed: Reason | None = Reason.CLIENT_GONE
        sent = True
        relay = _Relay(call)
        try:
            async with self._client().post(
                self._url, data=call.body, headers=self._headers(call), allow_redirects=False
            ) as response:
                await relay.start(response)
                async for chunk in response.content.iter_any():
                    await relay.send(chunk)
                await relay.end()
            failed = None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failed = _reason_of(error)
            log.warning("passthrough %s failed: %s", call.request_id, type(error).__name__)
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            if not relay.started:
                raise _because(Unavailable("The teacher cannot be reached."), failed) from error
        finally:
            if sent and relay.status in (None, 200):
                reported = relay.usage()
                bill.usage = reported or relay.usage_so_far(call.body)
                bill.estimated = reported is None
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
                trust_env=False,
            )
        return self._session

    def _headers(self, call: Call) -> dict[str, str]:
        """Forward four headers; the router's own key, where it has one, replaces the client's."""
        headers = {
            name.decode(): call.headers[name].decode("latin-1")
            for name in _FORWARDED
            if name in call.headers
        }
        if self._key:
            headers.pop("authorization", None)
        return {"x-request-id": call.request_id, **headers, **self._key}


class _Relay:
    """Sends an answer on while it arrives, remembering its end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        assert call.send is not None, "a call that is passed on came over ASGI"
        self._send: Send = call.send
        self._tail = bytearray()
        self._streamed = False
        self._events = 0
        self._bytes = 0
        self._seam = b""
        self.started = False
        self.status: int | None = None

    async def start(self, response: aiohttp.ClientResponse) -> None:
        headers = [
            (name.encode(), response.headers[name].encode("latin-1"))
            for name in _RETURNED
            if name in response.headers
        ]
        headers += [
            (b"x-raisehand-route", b"teacher"),
            (b"x-raisehand-reason", Reason.PASSTHROUGH.encode()),
        ]
        self._streamed = response.content_type == "text/event-stream"
        self.status = response.status
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )

    async def send(self, chunk: bytes) -> None:
        client = self._call.client
        if client is not None and client.disconnected:
            raise ClientGone("The client hung up.")
        joined = self._seam + chunk
        self._events += joined.count(_EVENT)
        self._seam = joined[-len(_EVENT) + 1 :]
        self._bytes += len(chunk)
        self._tail += chunk
        del self._tail[:-TAIL_BYTES]
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def usage(self) -> TokenUsage | None:
        """Return the tokens that the answer reports, or None when it does not."""
        if not self._streamed:
            return _usage_in(bytes(self._tail))
        for line in reversed(self._tail.splitlines()):
            if line.startswith(b"data: {"):
                usage = _usage_in(bytes(line[6:]))
                if usage is not None:
                    return usage
        return None

    def usage_so_far(self, question: bytes) -> TokenUsage:
        """Estimate what was consumed where the answer does not say (cut off, or not asked to).

        An event of a stream is a token; elsewhere four bytes are one.
        """
        output = self._events if self._streamed else self._bytes // CHARS_PER_TOKEN
        return TokenUsage(max(1, len(question) // CHARS_PER_TOKEN), output)


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = 0


class _Reported(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails | None = None


class _Reporting(msgspec.Struct):
    usage: _Reported | None = None


def _usage_in(body: bytes) -> TokenUsage | None:
    try:
        reported = msgspec.json.decode(body, type=_Reporting).usage
    except (ValueError, RecursionError):
        return None
    if reported is None or min(reported.prompt_tokens, reported.completion_tokens) < 0:
        return None
    details = reported.prompt_tokens_details
    cached = (details.cached_tokens if details else 0) or 0
    return TokenUsage(
        reported.prompt_tokens,
        reported.completion_tokens,
        min(max(cached, 0), reported.prompt_tokens),
    )


def _reason_of(error: Exception) -> Reason:
    timed_out = isinstance(error, (TimeoutError, asyncio.TimeoutError))
    return Reason.TEACHER_TIMEOUT if timed_out else Reason.TEACHER_UNAVAILABLE


def _because(refusal: Refusal, reason: Reason) -> Refusal:
    refusal.reason = reason.value
    return refusal
