"""The way of a teacher's answer back to the client: as it arrives, with who answered and its cost.

What an answer cost is known at its end. A whole answer is of no use in parts, so it is held until
then, as long as it is neither large nor slow; a stream says it in a comment before its [DONE],
which clients of server-sent events skip. No byte of the answer itself is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import aiohttp

from router.clock import Clock
from router.http.edge import Send
from router.http.hot_route import Call
from router.policy import Reason, Route
from router.provenance import cost_words
from router.teacher.headers import headers_back
from router.teacher.usage_reader import UsageReader

HELD_BYTES = 4 * 2**20
HELD_S = 2.0
"""A whole answer that is larger or slower is sent on as it comes; its cost is in the ledger."""
LATER = b"later"
"""The cost in the head of an answer whose end is not known yet."""
EVENT_STREAM = "text/event-stream"
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]\s*\Z")
Cost = Callable[[], Decimal | None]
"""What an answer has cost as far as it was read; None: unpriced."""


class WayBack:
    """Sends one answer back.

    Attributes:
        status: of the teacher's answer; None until there is one.
        failed: what the answer is, if it is a refusal of the teacher's own.
        started: whether the client has a head already.
        reader: what the answer says of itself.
    """

    def __init__(self, call: Call, bundle: str, cost: Cost, clock: Clock) -> None:
        assert call.send is not None, "a call that is passed on came over ASGI"
        self._send: Send = call.send
        self._call = call
        self._bundle = bundle
        self._cost = cost
        self._clock = clock
        self._head: list[tuple[bytes, bytes]] = []
        self._held: bytearray | None = bytearray()
        self._hold_until = 0.0
        self._seam = b"\n"
        self._streamed = self._commented = False
        self.status: int | None = None
        self.failed: Reason | None = None
        self.started = False
        self.reader = UsageReader()

    async def start(self, response: aiohttp.ClientResponse, failed: Reason | None) -> None:
        """Take the head; `failed` says what a refusal of the teacher is."""
        self.failed = failed
        route = Route.TEACHER if failed is None else Route.REFUSED
        reason = failed or Reason.PASSTHROUGH
        encoding = response.headers.get("content-encoding", "")
        self.status, self.reader = response.status, UsageReader(encoding)
        self._streamed = response.content_type == EVENT_STREAM
        self._commented = self._streamed and encoding in ("", "identity")
        self._head = headers_back(response.raw_headers)
        if self._commented:  # it gets longer
            self._head = [field for field in self._head if field[0] != b"content-length"]
        self._head += [
            (b"x-request-id", self._call.request_id.encode("latin-1")),
            (b"x-raisehand-route", route.encode()),
            (b"x-raisehand-reason", reason.encode()),
            (b"x-raisehand-bundle", self._bundle.encode()),
        ]
        if self._call.why:
            self._head.append((b"x-raisehand-why", self._call.why.encode()))
        self._hold_until = self._clock() + HELD_S
        if self._streamed:
            await self._let_go(LATER)

    async def send(self, chunk: bytes) -> None:
        """Take a part of the body."""
        self.reader.feed(chunk)
        if self._held is None:
            await self._body(self._with_cost(chunk) if self._commented else chunk)
            return
        self._held += chunk
        if len(self._held) > HELD_BYTES or self._clock() > self._hold_until:
            await self._let_go(LATER)

    async def end(self) -> None:
        """Send what is left: what was held, or what a stream has not said yet."""
        if self._commented:
            await self._body(self._comment())
        elif self._held is not None:
            await self._let_go(cost_words(self._cost()))
        await self._body(b"", more=False)

    def _with_cost(self, chunk: bytes) -> bytes:
        """Put the cost before a [DONE] that ends the chunk."""
        done = _DONE.search(self._seam + chunk)
        begins = done.start() - len(self._seam) + 1 if done else -1
        self._seam = chunk[-1:]
        return chunk if begins < 0 else chunk[:begins] + self._comment() + chunk[begins:]

    def _comment(self) -> bytes:
        self._commented = False
        return b": x-raisehand-cost-usd: %b\n\n" % cost_words(self._cost())

    async def _let_go(self, cost: bytes) -> None:
        assert self._held is not None
        held, self._held = bytes(self._held), None
        headers = [*self._head, (b"x-raisehand-cost-usd", cost)]
        self.started = True
        assert self.status is not None
        await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        if held:
            await self._body(held)

    async def _body(self, part: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": more})
