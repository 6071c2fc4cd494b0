"""The express lane: a plain request for one text, answered from the socket's callback.

ASGI costs a task, an event, two futures and a dictionary for each request: more than the student
does. So a POST to a hot route is taken here, however it arrived, scored, worded and written back
without any of them; only one that goes to the teacher gets a task. What is not one text (a list,
what is passed on, a body that is wrong) is left to the ASGI application: same surfaces, same words.
What is one too many is refused here, before its body is looked at. What is taken is worked on in
slices, between which the sockets are read: a refusal never waits for more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from router.clock import Client, Clock
from router.http.admission import Admission, ready_refusal
from router.http.desk import Desk, reply_fields
from router.http.hot_route import Call, HotRoute, Single
from router.http.wire.incoming import Request
from router.keys.ring import KeyRing
from router.request import Answer

SLICE = 32
"""Requests worked on in one tick of the event loop: some 2 ms."""
FRESH_S = 0.05
"""While too many are in work and the oldest has waited for longer, the newest goes first, and it is
the oldest that are refused: few late answers, not all."""


class Connection(Client, Protocol):
    """Where a request came from and its answer goes."""

    @property
    def tasks(self) -> Collection[object]:
        """Requests in work that did not come over the lane, of all connections."""
        ...

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer, if the client is still there."""
        ...

    def leave(self, request: Request) -> None:
        """Give what was taken to the application after all."""
        ...

    def give_up(self) -> None:
        """There is nothing to write: the client is gone."""
        ...


class Express:
    """Takes plain requests straight from their connection.

    Args:
        routes: the hot routes by path.
        door: when there are too many in work already.
        keys: who may ask; None asks nobody.
    """

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        desk: Desk,
        door: Admission,
        clock: Clock,
        *,
        keys: KeyRing | None = None,
    ) -> None:
        self._in_work = 0
        self._routes = {
            path: (route, *ready_refusal(route.error_body)) for path, route in routes.items()
        }
        self._desk = desk
        self._door = door
        self._clock = clock
        self._keys = keys
        self._waiting: deque[_Arrival] = deque()
        self._begun = 0
        """In this tick of the event loop."""

    def take(self, connection: Connection, request: Request) -> bool:
        """Take a request of a connection; False leaves it to the application."""
        known = self._routes.get(request.head.path)
        if known is None or request.head.method != "POST":
            return False
        route, fields, body = known
        in_work = self._in_work + len(connection.tasks)
        if self._door.full(in_work) and self._door.refuses(in_work, self._is_late()):
            connection.answer(429, fields, body)
            return True
        arrival = _Arrival(connection, route, request, self._clock())
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
                _, fields, body = self._routes[arrival.request.head.path]
                arrival.connection.answer(429, fields, body)
            following = self._waiting.pop if self._is_late() else self._waiting.popleft
            while self._waiting and self._begun < SLICE:
                arrival = self._next(following)
                if not arrival.connection.disconnected and not self._begin(arrival):
                    arrival.connection.leave(arrival.request)
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
        connection, head = arrival.connection, arrival.request.head
        try:
            key = None if self._keys is None else self._keys.identify(head.secrets)
            request_id = self._desk.request_id(head.headers)
            body = arrival.request.body
            received_at = arrival.at - arrival.request.waited_s
            call = Call(head.headers, body, request_id, received_at, connection, key=key)
            single = arrival.route.surface.single(call)
            if single is not None and key is not None:
                key.admit()
        except Exception:  # the application will find it too, and has the words for it
            return False
        if single is None:
            return False
        self._in_work += 1
        settling = _Settling(self, connection, arrival.route, request_id, single)
        single.pipeline.start(single.ask, settling.settle)
        return True


class _Arrival(msgspec.Struct, gc=False):
    """One whole request that nobody has looked into."""

    connection: Connection
    route: HotRoute
    request: Request
    at: float


class _Settling(msgspec.Struct, gc=False):
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
            apology = self.lane._desk.apology(fault, self.route.error_body, self.request_id)
            if apology is None:
                self.connection.give_up()
                return
            reply = apology
        self.connection.answer(reply.status, reply_fields(reply, self.request_id), reply.body)
