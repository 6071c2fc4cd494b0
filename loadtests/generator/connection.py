"""Keep-alive HTTP over gevent's loop, with uvicorn's parser (httptools, which is llhttp).

Locust's own FastHttpSession took 197 µs of CPU a request here and geventhttpclient's client 115,
17 of them in its parser where this one takes 3: the generator must cost less than what it measures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.event import AsyncResult

from loadtests.generator.line import Flight, HttpLine
from loadtests.generator.reply import HttpReply, RequestLost
from loadtests.generator.tls import TlsLayer
from loadtests.inputs.route import TargetRoute
from loadtests.inputs.spec import ClientWay

TICK_S = 0.05
"""A time-out is noticed at most so late."""
SHORTEST_TICK_S = 0.001
IDLE_TICKS = 20
"""Who looks for time-outs goes after so many ticks without a request."""


class Connections:
    """As many connections to one server as there are requests in flight."""

    def __init__(
        self, route: TargetRoute, path: str, headers: dict[str, str], way: ClientWay = "whole"
    ) -> None:
        self._route, self._way = route, way
        lines = {"host": route.host, "content-type": "application/json", **headers}
        if way == "fresh":
            lines["connection"] = "close"
        head = f"POST {route.base}{path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = head.encode("latin-1") + b"content-length: "
        self._found: tuple[int, Any] | None = None
        self._idle: deque[HttpLine] = deque()
        self._flying: set[Flight] = set()
        self._watching: gevent.Greenlet | None = None
        self.reopened = 0
        """Requests sent again because their connection had died while it was idle."""

    def send(
        self,
        body: bytes,
        deadline: float,
        on_end: Callable[[HttpReply | RequestLost], None],
        *,
        timed: bool = False,
    ) -> None:
        """Send `body`; `on_end` is called once, at `deadline` (CLOCK_MONOTONIC) at the latest.

        `timed` keeps the instant of every read.
        """
        flight = Flight(self._head + b"%d\r\n\r\n" % len(body), body, deadline, on_end, timed)
        self._flying.add(flight)
        if self._watching is None:
            self._watching = gevent.spawn(self._watch)
        while self._idle:
            line = self._idle.pop()
            if line.is_open:
                flight.reused = True
                line.begin(flight)
                return
        self._open_for(flight)

    def post(self, body: bytes, timeout_s: float) -> HttpReply | RequestLost:
        """Send `body` and wait for what becomes of it."""
        ended: AsyncResult[HttpReply | RequestLost] = AsyncResult()
        self.send(body, time.monotonic() + timeout_s, ended.set)
        found: HttpReply | RequestLost = ended.get()
        return found

    def on_reply(self, line: HttpLine, flight: Flight, reply: HttpReply) -> None:
        """Keep the connection where it can be, and hand the reply on."""
        if line.is_open:
            self._idle.append(line)
        self._finish(flight, reply)

    def on_died(self, flight: Flight, words: str, *, begun: bool) -> None:
        """Send once more what an idle connection lost; anything else is the server's failure."""
        if begun or not flight.reused:
            self._finish(flight, RequestLost("connection", words))
            return
        # The server closed it before it read a byte of this: nothing was asked yet. A new
        # connection is tried once; one that fails, too, is the server's failure.
        self.reopened += 1
        flight.reused = False
        self._open_for(flight)

    def _finish(self, flight: Flight, found: HttpReply | RequestLost) -> None:
        self._flying.discard(flight)
        flight.on_end(found)

    def _open_for(self, flight: Flight) -> None:
        flight.opening = gevent.spawn(self._open, flight)

    def _open(self, flight: Flight) -> None:
        try:
            line = self._connected()
        except OSError as error:
            flight.opening = None
            self._finish(flight, RequestLost("connection", str(error)))
            return
        flight.opening = None
        line.begin(flight)

    def _connected(self) -> HttpLine:
        """Open a connection.

        Raises:
            OSError: there is nobody, or nobody to be trusted.
        """
        tls = None
        connection = self._connected_socket()
        try:
            if self._route.tls is not None:
                tls = TlsLayer(self._route.tls, self._route.name)
                tls.shake_hands(connection)
        except BaseException:  # the time-out, too, ends the waiting
            connection.close()
            raise
        way = self._way
        return HttpLine(self, connection, tls, keep=way != "fresh", apart=way == "apart")

    def _connected_socket(self) -> socket.socket:
        """Connect to where the name led the first time: to ask anew costs more than a request."""
        if isinstance(self._route.address, str):
            family, address = socket.AF_UNIX, self._route.address
        elif self._found is not None:
            family, address = self._found
        else:
            connection = socket.create_connection(self._route.address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._found = connection.family, connection.getpeername()
            return connection
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.connect(address)
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        return connection

    def _watch(self) -> None:
        """End what has taken too long: one look at all that is in flight costs less than timers."""
        idle = 0
        while idle < IDLE_TICKS:
            now = time.monotonic()
            over = [flight for flight in self._flying if flight.deadline <= now]
            for flight in over:
                self._expire(flight)
            soonest = min((e.deadline for e in self._flying), default=now + TICK_S)
            idle = 0 if self._flying else idle + 1
            gevent.sleep(min(TICK_S, max(SHORTEST_TICK_S, soonest - now)))
        self._watching = None

    def _expire(self, flight: Flight) -> None:
        if flight.opening is not None:
            flight.opening.kill(block=False)
        if flight.line is not None:
            flight.line.close()
        self._finish(flight, RequestLost("timeout"))
