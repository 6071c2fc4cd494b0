"""uvicorn's HTTP protocol with what it lacks: an end to heads that never end, one write an answer.

uvicorn waits for ever for the rest of a head, and a byte now and then keeps the connection open
(slowloris); nor does it bound the size of a head, nor the wait for a client that does not read.
Bodies are timed and counted by the edge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

MAX_HEAD_BYTES = 65_536
CLOSE = b"connection: close\r\n"
_LINE = b"%b: %b\r\n".__mod__


class Lane(Protocol):
    """Answers plain requests without the application: see `router.http.lane`."""

    def take(self, connection: TimedProtocol, data: bytes) -> bool:
        """Take what came between two requests, and `answer` it; False leaves it."""
        ...


class TimedProtocol(HttpToolsProtocol):
    """Closes a connection whose head is not there in time, or is too long.

    The time counts from the connection, for the first request, and from its first byte for each
    one after; an idle connection between two requests is uvicorn's keep-alive to close.

    One request at a time: while the express lane has one, what else arrives is held.
    """

    disconnected = False

    def __init__(
        self,
        *args: Any,
        head_timeout_s: float,
        answer_timeout_s: float,
        express: Lane | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._unread_timer: asyncio.TimerHandle | None = None
        self._express = express
        self._on_express = False
        self._held = b""
        self._closes = False
        self._idle_since = 0.0
        self._between = True
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        self._stop_unread_timer()
        self.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a timer runs only while a head is incomplete between two reads.

        Between two requests the express lane may take it instead.
        """
        if self.transport.is_closing():
            return
        if self._on_express:
            self._held += data
            self.transport.pause_reading()
            return
        if self._between and self._is_taken(data):
            self._stop_timer()
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request head is too long.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def _is_taken(self, data: bytes) -> bool:
        if self._express is None or self.flow.write_paused:
            return False
        self._on_express = True  # before it is taken: it may be answered at once
        taken = self._express.take(self, data)
        self._on_express = self._on_express and taken
        return taken

    def refuse(self, refusal: bytes) -> None:
        """Write a refusal to the request on the express lane, as it is."""
        self._on_express = False
        if self.disconnected:
            return
        self.transport.write(refusal)
        if self._closes:
            self.transport.close()
        else:
            self._take_held()

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Write a whole answer to the request on the express lane."""
        self._on_express = False
        if self.disconnected:
            return
        self.server_state.total_requests += 1
        fields = b"".join(map(_LINE, self.server_state.default_headers)) + fields
        closes = self._closes or CLOSE in fields
        if self._closes and CLOSE not in fields:
            fields += CLOSE
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], fields, body))
        if closes:
            self.transport.close()
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_idle(self.timeout_keep_alive)
        self._take_held()

    def _take_held(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self.transport.resume_reading()
            self.data_received(held)

    def leave(self, data: bytes) -> None:
        """Give the request on the express lane to the parser after all."""
        self._on_express = False
        if self.disconnected:
            return
        self._parse(data)
        if self._closes:
            super().shutdown()
        self._take_held()

    def give_up(self) -> None:
        """Close: the request on the express lane gets no answer."""
        self._on_express = False
        self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read: cut it off unless it does so in time."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._answer_timeout_s, self._too_slow)

    def resume_writing(self) -> None:
        """The client has read."""
        self._stop_unread_timer()
        super().resume_writing()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def shutdown(self) -> None:
        """Close once the request in work is answered; at once when there is none."""
        if self._on_express:
            self._closes = True
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle all the time; the lane does not move the timer."""
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if self._on_express:
            left = float(self.timeout_keep_alive)
        if left > 0:
            self._wait_idle(left)
        else:
            super().timeout_keep_alive_handler()

    def _wait_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def on_message_begin(self) -> None:
        """A head begins."""
        self._between = False
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there; one that offers another protocol gets one refusal and the end.

        httptools ends such a message at its head and takes the body's bytes for further requests,
        so nothing that follows on this connection may be read.
        """
        self._in_head = False
        if self.parser.should_upgrade():
            self.send_400_response("This server does not change protocols; send no Upgrade.")
            return
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, once, and close."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: uvicorn would advise to install WebSockets."""

    def on_response_complete(self) -> None:
        """The next bytes begin a request, unless a pipelined one is already being read."""
        self._between = not self._in_head and not self.pipeline and not self.cycle.more_body
        super().on_response_complete()

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def status_line(status: int) -> bytes:
    """Return the first line of an answer, as uvicorn writes it."""
    return STATUS_LINE[status]


def cycle_of(send: Callable[..., Any]) -> RequestResponseCycle | None:
    """Return uvicorn's request cycle when `send` is its own method, not some wrapper's."""
    cycle = getattr(send, "__self__", None)
    if isinstance(cycle, RequestResponseCycle) and cycle.scope["method"] != "HEAD":
        return cycle
    return None


async def write_at_once(
    cycle: RequestResponseCycle,
    status: int,
    fields: bytes,
    body: bytes,
) -> None:
    """Write head and body with one system call, as `cycle.send` would with two.

    On the hot path the second call and uvicorn's checks of header bytes (ours are made here, never
    from user input) were a third of the event loop's time. `fields` are header lines, with the
    content-length among them.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    fields = b"".join(map(_LINE, cycle.default_headers)) + fields
    if CLOSE in fields:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        fields += CLOSE
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], fields, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
