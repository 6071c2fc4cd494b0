"""The express lane: a plain request for one text, answered from the socket's callback.

ASGI costs a task, an event, two futures and a dictionary for each request: more than the student
does. So a whole POST to a hot route that arrives in one piece on an idle connection is taken here,
scored, worded and written back without any of them; only one that goes to the teacher gets a task.
Whatever is unusual (another method, chunks, `Expect`, a body in parts, a list, a stream passed on,
a body that is wrong) is left to the ASGI application: same surfaces, same words. What is one too
many is refused here, before its body is looked at. What is taken is worked on in slices, between
which the sockets are read: a refusal never waits for more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import httptools
import msgspec

from router.clock import Client, Clock
from router.http.admission import Admission, whole_refusal
from router.http.edge import Desk, reply_fields
from router.http.hot_route import Call, HotRoute, Single
from router.keys.ring import SECRET_HEADERS, KeyRing
from router.request import Answer

MAX_HEAD = 4_096
SLICE = 32
"""Requests worked on in one tick of the event loop: some 2 ms."""
FRESH_S = 0.05
"""While too many are in work and the oldest has waited for longer, the newest goes first, and it is
the oldest that are refused: few late answers, not all."""
MAX_KNOWN = 1_024
"""Heads remembered; clients send the same one over and over, but for its content-length."""


class Connection(Client, Protocol):
    """Where a request came from and its answer goes."""

    @property
    def tasks(self) -> Collection[object]:
        """Requests in work that did not come over the lane, of all connections."""
        ...

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer, if the client is still there."""
        ...

    def refuse(self, refusal: bytes) -> None:
        """Write a refusal as it is."""
        ...

    def leave(self, data: bytes) -> None:
        """Give what was taken to the parser after all: the application answers it."""
        ...

    def give_up(self) -> None:
        """There is nothing to write: the client is gone."""
        ...


class Express:
    """Takes plain requests straight from their connection.

    Args:
        routes: the hot routes by path.
        door: when there are too many in work already.
        max_body_bytes: a longer body is left to the application, which refuses it.
        keys: who may ask; None asks nobody.
        answers: False leaves all that is not refused to the application, which is wrapped in
            something that wants to see every request.
    """

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        desk: Desk,
        door: Admission,
        max_body_bytes: int,
        clock: Clock,
        *,
        keys: KeyRing | None = None,
        answers: bool = True,
    ) -> None:
        self._in_work = 0
        self._routes = routes
        self._desk = desk
        self._door = door
        self._answers = answers
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._keys = keys
        self._heads: dict[bytes, _Head | None] = {}
        self._waiting: deque[_Arrival] = deque()
        self._begun = 0
        """In this tick of the event loop."""

    def take(self, connection: Connection, data: bytes) -> bool:
        """Take what a connection received between two requests; False leaves it to the parser."""
        end = data.find(b"\r\n\r\n") + 4
        if not 4 <= end <= MAX_HEAD:
            return False
        head = self._head(data[:end])
        if head is None or len(data) != end + head.length:
            return False
        if self._door.refuses(self._in_work + len(connection.tasks), self._is_late()):
            connection.refuse(head.refusal)
            return True
        if not self._answers:
            return False
        arrival = _Arrival(connection, head, data, end, self._clock())
        if self._begun < SLICE:
            try:
                return self._begin(arrival)
            finally:  # the student first: it was told of this one just now
                if self._begun == 1:
                    asyncio.get_running_loop().call_soon(self._tick)
        self._in_work += 1
        self._waiting.append(arrival)
        return True

    def _tick(self) -> None:
        self._begun = 0
        try:
            while self._is_late() and self._door.affords():
                arrival = self._next(self._waiting.popleft)
                arrival.connection.refuse(arrival.head.refusal)
            following = self._waiting.pop if self._is_late() else self._waiting.popleft
            while self._waiting and self._begun < SLICE:
                arrival = self._next(following)
                if not arrival.connection.disconnected and not self._begin(arrival):
                    arrival.connection.leave(arrival.data)
        finally:
            if self._begun or self._waiting:
                asyncio.get_running_loop().call_soon(self._tick)

    def _next(self, take: Callable[[], _Arrival]) -> _Arrival:
        self._in_work -= 1
        return take()

    def _is_late(self) -> bool:
        return (
            len(self._waiting) > 0
            and self._door.full(self._in_work)
            and self._clock() - self._waiting[0].at > FRESH_S
        )

    def _begin(self, arrival: _Arrival) -> bool:
        """Start one request; False when it is not for this lane."""
        self._begun += 1
        connection, head = arrival.connection, arrival.head
        try:
            key = None if self._keys is None else self._keys.identify(head.secrets)
            request_id = self._desk.request_id(head.headers)
            body = arrival.data[arrival.end :]
            call = Call(head.headers, body, request_id, arrival.at, connection, key=key)
            single = head.route.surface.single(call)
            if single is not None and key is not None:
                key.admit()
        except Exception:  # the application will find it too, and has the words for it
            return False
        if single is None:
            return False
        self._in_work += 1
        exchange = _Exchange(self, connection, head.route, request_id, single)
        single.pipeline.start(single.ask, exchange.settle)
        return True

    def _head(self, raw: bytes) -> _Head | None:
        """Return what a head says; None when it is not for this lane."""
        try:
            return self._heads[raw]
        except KeyError:
            pass
        if len(self._heads) >= MAX_KNOWN:
            self._heads.clear()
        known = self._heads[raw] = _read_head(raw, self._routes, self._max_body_bytes)
        return known


class _Head(msgspec.Struct, frozen=True):
    route: HotRoute
    headers: dict[bytes, bytes]
    secrets: tuple[tuple[bytes, bytes], ...]
    length: int
    refusal: bytes


class _Arrival(msgspec.Struct, gc=False):
    """One whole request that nobody has looked into."""

    connection: Connection
    head: _Head
    data: bytes
    end: int
    """Of its head."""
    at: float


class _Exchange(msgspec.Struct, gc=False):
    """One request on the lane."""

    lane: Express
    connection: Connection
    route: HotRoute
    request_id: str
    single: Single

    def settle(self, outcome: Answer | BaseException) -> None:
        """Write the answer, or why there is none."""
        self.lane._in_work -= 1
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            reply = self.single.word(outcome)
        except BaseException as fault:
            apology = self.lane._desk.apology(fault, self.route, self.request_id)
            if apology is None:
                self.connection.give_up()
                return
            reply = apology
        self.connection.answer(reply.status, reply_fields(reply, self.request_id), reply.body)


class _Reader:
    """Collects what httptools finds in a head."""

    def __init__(self) -> None:
        self.url = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.whole = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.whole = True


def _read_head(raw: bytes, routes: Mapping[str, HotRoute], max_body: int) -> _Head | None:
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(reader.pairs)
    route = routes.get(reader.url.decode("latin-1"))
    length = headers.get(b"content-length", b"")
    plain = (
        reader.whole
        and route is not None
        and parser.get_method() == b"POST"
        and parser.get_http_version() == "1.1"
        and parser.should_keep_alive()
        and not parser.should_upgrade()
        and not headers.keys() & {b"transfer-encoding", b"expect", b"upgrade"}
        and length.isdigit()
        and 0 < int(length) <= max_body
    )
    if not plain or route is None:
        return None
    secrets = tuple(pair for pair in reader.pairs if pair[0] in SECRET_HEADERS)
    public = {name: value for name, value in headers.items() if name not in SECRET_HEADERS}
    return _Head(route, public, secrets, int(length), whole_refusal(route.error_body))
