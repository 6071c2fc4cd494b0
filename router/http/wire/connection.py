"""One HTTP/1.1 connection: a request is read until it is whole, answered once, then the next.

uvicorn opens the sockets and stops them; what happens on one is here. There is always a timer: for
the head, for the body, between requests, for a client that does not take its answer and for one
that does not let go of a connection that is over; a request in work is timed by who works on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol, cast

from uvicorn import Config
from uvicorn.server import ServerState

from router.errors import Refusal, SlowBody
from router.http.cors import Cors
from router.http.desk import CLOSE, Desk, error_body_of, reply_fields
from router.http.exchange import Exchange, scope_of
from router.http.observer import Observed, Observer
from router.http.wire.deadline import Deadline
from router.http.wire.head import Heads
from router.http.wire.incoming import Incoming, Request
from router.settings import Settings

HELD_BYTES = 65_536
"""What a client may send ahead before its socket is not read any more."""
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINE = [b"HTTP/1.1 %d %b\r\n" % (n, _PHRASES.get(n, b"")) for n in range(1_000)]
_LINE = b"%b: %b\r\n".__mod__


class Lane(Protocol):
    """Answers plain requests without the application: see `router.http.lane`."""

    def take(self, connection: HttpConnection, request: Request) -> bool:
        """Take a request and `answer` it, now or later; False leaves it."""
        ...


class HttpConnection(asyncio.Protocol):
    """Reads requests one at a time and sees to it that each gets one answer.

    Args:
        config: uvicorn's.
        server_state: what the server knows of its connections.
        app_state: goes into every ASGI scope.
        heads: remembers heads, of all connections.
        express: sees every request first; None leaves all to the application.
        cors: which pages may ask; None: none.
        observers: look on, whoever answers.
        count: told the status of every answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: Settings,
        desk: Desk,
        heads: Heads,
        express: Lane | None = None,
        cors: Cors | None = None,
        observers: Sequence[Observer] = (),
        count: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._app = config.loaded_app
        self._keep_alive_s = float(config.timeout_keep_alive)
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._settings = settings
        self._desk = desk
        self._express = express
        self._cors = cors
        self._observers = observers
        self._observed: list[Observed] = []
        self._count = count
        self._incoming = Incoming(heads, settings.max_body_bytes, settings.body_limit)
        self._request: Request | None = None
        """In work."""
        self._exchange: Exchange | None = None
        self._deadline = Deadline(self._loop, self._on_time)
        self._unread_timer: asyncio.TimerHandle | None = None
        """Runs while the client does not take its answer; nothing is read of it so long."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._in_head = True
        """The time for a head runs: from the connection, later from a head's first byte."""
        self._in_body = self._read_paused = False
        self._began: float | None = None
        """When the first byte of a request came that is not whole yet."""
        self._closes = False
        """After the answer in work, or the request on its way."""
        self._over = False
        """Nothing that comes is read any more."""
        self.disconnected = False
        self.tasks = server_state.tasks
        """Requests in work at the application, of all connections."""
        self._standing, self._standing_fields = server_state.default_headers[:], b""
        """What goes on every answer, and laid out; uvicorn makes a new list of it each second."""
        self._transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        """Whether a request is in work."""
        return self._request is not None

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first head."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._state.connections.add(self)  # type: ignore[arg-type]  # it asks for `shutdown` alone
        if len(self._state.connections) > self._settings.max_connections:
            self._desk.shut_out()
            self.give_up()
            return
        self._deadline.set(self._settings.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who works for this client, and stop waiting."""
        self.disconnected = True
        self._state.connections.discard(self)
        self._writable.set()
        if self._exchange is not None:
            self._exchange.hang_up()
        self._end_observed()
        self._deadline.cancel()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read, or hold what comes while a request is in work."""
        if self._over:
            return
        if self._request is None and self._unread_timer is None:
            self._read(data)
            return
        self._incoming.hold(data)
        if len(self._incoming.unread) > HELD_BYTES and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read: cut it off unless it does so in time."""
        self._writable.clear()
        self._unread_timer = self._loop.call_later(
            self._settings.answer_timeout_s, self._transport.abort
        )

    def resume_writing(self) -> None:
        """The client has read."""
        self._writable.set()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        self._go_on()

    # Reading.

    def _read(self, data: bytes) -> None:
        try:
            request = self._incoming.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if request is None:
            self._await_rest()
            return
        self._request = request
        if self._began is not None:
            request.waited_s, self._began = self._loop.time() - self._began, None
        if self._observers:
            begun = (observer.begin(request) for observer in self._observers)
            self._observed = [observed for observed in begun if observed is not None]
        self._in_head = self._in_body = False
        if self._cors is not None and (fields := self._cors.preflight(request.head)) is not None:
            self.answer(204, fields, b"")
            return
        if self._express is None or not self._express.take(self, request):
            self.leave(request)

    def _await_rest(self) -> None:
        """Set the time for what is missing; a byte more does not move it."""
        head = self._incoming.head
        if self._began is None and (head is not None or self._incoming.unread):
            self._began = self._loop.time()
        if head is not None and not self._in_body:
            self._in_head, self._in_body = False, True
            self._deadline.set(self._settings.body_timeout_s)
            if head.waits:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif head is None and self._incoming.unread and not self._in_head:
            self._in_head = True
            self._deadline.set(self._settings.head_timeout_s)

    def _go_on(self) -> None:
        """Read what was held, in a tick of its own."""
        if self._incoming.unread and not self.disconnected:
            self._loop.call_soon(self._read_held)

    def _read_held(self) -> None:
        if self._request is not None or self._over or self._unread_timer is not None:
            return
        self._read(b"")
        few = len(self._incoming.unread) <= HELD_BYTES
        if self._read_paused and few and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()

    def leave(self, request: Request) -> None:
        """Give a request to the application."""
        if self.disconnected:
            return
        self._exchange = exchange = Exchange(self, request)
        scope = scope_of(request, self._transport, self._app_state)
        task = self._loop.create_task(exchange.run(self._app, scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    # Writing.

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer to the request in work."""
        if self.disconnected:
            return
        assert self._request is not None, "one answer to one request"
        if self._request.head.method == "HEAD":
            body = b""
        self._transport.write(self._head(status, fields) + body)
        self.end()

    def begin(self, status: int, fields: bytes, *, closes: bool) -> None:
        """Write the head of an answer to the request in work."""
        self.write(self._head(status, fields, closes=closes))

    def write(self, data: bytes) -> None:
        """Write a part of its body."""
        self._transport.write(data)

    def end(self) -> None:
        """It is answered: wait for the next, or close."""
        self._request = self._exchange = None
        if self._observed:
            self._end_observed()
        if self._closes:
            self._close()
            return
        self._deadline.set(self._keep_alive_s)
        if self._incoming.unread:
            self._go_on()

    def give_up(self) -> None:
        """The request in work gets no answer, or no more of it."""
        self._request = self._exchange = None
        self._over = True
        self._end_observed()
        self._transport.abort()

    def apologise(self, fault: BaseException) -> None:
        """Write what went wrong as the answer to the request in work."""
        assert self._request is not None, "one answer to one request"
        head = self._request.head
        request_id = self._desk.request_id(head.headers)
        reply = self._desk.apology(fault, error_body_of(head.path), request_id)
        if reply is None:
            self.give_up()
        else:
            self.answer(reply.status, reply_fields(reply, request_id), reply.body)

    async def writable(self) -> None:
        """Wait until the client reads what was written."""
        await self._writable.wait()

    def _head(self, status: int, fields: bytes, *, closes: bool = False) -> bytes:
        """Return the head of an answer, and note whether it is the last one."""
        if (standing := self._state.default_headers) is not self._standing:
            self._standing, self._standing_fields = standing, b"".join(map(_LINE, standing))
        fields = self._standing_fields + fields
        request = self._request
        head = self._incoming.head if request is None else request.head
        if self._cors is not None and head is not None:
            fields += self._cors.fields(head)
        said = CLOSE in fields
        if said or closes or self._closes or request is None or not request.head.keeps_alive:
            self._closes = True
            fields += b"" if said else CLOSE
        self._count(status)
        for observed in self._observed:
            observed.answered(status, fields)
        return b"%b%b\r\n" % (_STATUS_LINE[status], fields)

    def _end_observed(self) -> None:
        observed, self._observed = self._observed, []
        for each in observed:
            each.over()

    # The end.

    def shutdown(self) -> None:
        """Close once the request in work, or on its way, is answered; at once if there is none."""
        self._closes = True
        if self._over or (
            self._request is None and not self._in_body and not self._incoming.unread
        ):
            self._close()

    def _refuse(self, refusal: Refusal) -> None:
        """Say why what came is no request, and close: where the next begins nobody knows."""
        head = self._incoming.head
        request_id = self._desk.request_id(head.headers if head else {})
        words = error_body_of(head.path if head else "")
        reply = self._desk.apology(refusal, words, request_id)
        assert reply is not None, "only a client that is gone gets none"
        fields = reply_fields(reply, request_id)
        body = b"" if head and head.method == "HEAD" else reply.body
        self._transport.write(self._head(reply.status, fields, closes=True) + body)
        self._linger()

    def _linger(self) -> None:
        """End our side and drop what comes until the client ends its own.

        To close at once, with bytes unread, would take from the client what was just written.
        """
        self._over = True
        if not self._transport.is_closing():
            self._transport.write_eof()
        self._deadline.set(self._settings.body_timeout_s)

    def _close(self) -> None:
        if self._incoming.unread and not self._over:
            self._linger()
            return
        self._over = True
        self._transport.close()
        self._deadline.set(self._settings.answer_timeout_s)

    def _on_time(self) -> None:
        if self._in_body and not self._over:
            limit = self._settings.body_timeout_s
            self._refuse(SlowBody(f"The body did not arrive within {limit:g} s; send it at once."))
        elif self._request is None:  # else whoever works on it times it, and its end sets a time
            self._transport.abort()
