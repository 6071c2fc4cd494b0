"""One HTTP/1.1 connection, moved by the event loop's callbacks: a request costs no greenlet.

A greenlet that waits for its reply is switched to twice; that, the timer of its time-out and the
queues between greenlets cost more than sending and reading the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent
import gevent.socket
import httptools

from loadtests.generator.reply import HttpReply, RequestLost
from loadtests.generator.tls import TlsLayer

READABLE, WRITABLE = 1, 2
MOST_BYTES = 65536


class Flight:
    """One request, and who is told what became of it."""

    __slots__ = ("body", "deadline", "head", "line", "on_end", "opening", "reused", "timed")

    def __init__(
        self,
        head: bytes,
        body: bytes,
        deadline: float,
        on_end: Callable[[HttpReply | RequestLost], None],
        timed: bool,
    ) -> None:
        self.head, self.body, self.deadline = head, body, deadline
        self.on_end, self.timed = on_end, timed
        self.line: HttpLine | None = None
        self.opening: gevent.Greenlet | None = None
        self.reused = False
        """Its connection had carried another request before."""


class LineOwner(Protocol):
    """Who gets what a connection finds."""

    def on_reply(self, line: HttpLine, flight: Flight, reply: HttpReply) -> None:
        """Take a whole reply; the line can carry another request if it is open."""
        ...

    def on_died(self, flight: Flight, words: str, *, begun: bool) -> None:
        """Take the end of a connection within a flight, before or after its first byte."""
        ...


class HttpLine:
    """An open connection that carries one request at a time; it is the parser's protocol, too."""

    __slots__ = (
        *("_begun", "_body", "_complete", "_flight", "_head", "_head_complete", "_keep"),
        *("_owner", "_parser", "_pause", "_readable", "_reads", "_socket", "_tls", "_unsent"),
        *("_writable", "is_open"),
    )

    def __init__(
        self,
        owner: LineOwner,
        connection: gevent.socket.socket,
        tls: TlsLayer | None,
        *,
        keep: bool,
        apart: bool,
    ) -> None:
        connection.setblocking(False)
        self._owner, self._socket, self._tls, self._keep = owner, connection, tls, keep
        self._parser = httptools.HttpResponseParser(self)
        self._flight: Flight | None = None
        self._unsent = b""
        self.is_open = True
        loop, descriptor = gevent.get_hub().loop, connection.fileno()
        self._readable = loop.io(descriptor, READABLE)
        self._writable = loop.io(descriptor, WRITABLE)
        self._pause = loop.timer(0.0) if apart else None
        self._readable.start(self._on_readable)

    def begin(self, flight: Flight) -> None:
        """Send a request."""
        self._flight, flight.line = flight, self
        self._head: dict[bytes, bytes] = {}
        self._body = b""
        self._reads: list[tuple[float, int]] = []
        self._begun = self._head_complete = self._complete = False
        if self._pause is None:
            self._write(flight.head + flight.body)
            return
        self._write(flight.head)
        if self.is_open:
            # A turn of the loop later: the head is on its way, and the server may have read it.
            self._pause.start(self._write, flight.body)

    def close(self) -> None:
        """Give the descriptor back; nobody is told."""
        if not self.is_open:
            return
        self.is_open, self._flight = False, None
        for watcher in (self._readable, self._writable, self._pause):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._socket.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first header of each name."""
        self._head.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Remember that what follows is the body."""
        self._head_complete = True

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self._body += part

    def on_message_complete(self) -> None:
        """Remember that the reply is whole."""
        self._complete = True

    def _write(self, data: bytes) -> None:
        try:
            if self._tls is not None:
                data = self._tls.encrypt(data)
            if self._unsent:
                self._unsent += data
                return
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._die(str(error))
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._writable.start(self._on_writable)

    def _on_writable(self) -> None:
        rest, self._unsent = self._unsent, b""
        self._writable.stop()
        try:
            sent = self._socket.send(rest)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._die(str(error))
            return
        if sent < len(rest):
            self._unsent = rest[sent:]
            self._writable.start(self._on_writable)

    def _on_readable(self) -> None:
        try:
            data: bytes | None = self._socket.recv(MOST_BYTES)
            if data and self._tls is not None:
                data = self._tls.decrypt(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._die(str(error))
            return
        if data is None:
            return  # a part of a record, or a session ticket
        flight = self._flight
        if not data or flight is None:  # the end, or what nobody asked for
            self._end()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._die(str(error))
            return
        if flight.timed:
            self._reads.append((time.monotonic(), len(self._body)))
        if self._complete:
            self._finish(flight)

    def _finish(self, flight: Flight) -> None:
        reply = HttpReply(
            self._parser.get_status_code(), self._head, self._body, tuple(self._reads)
        )
        self._flight = flight.line = None
        if (
            not self._keep
            or not self._complete
            or self._head.get(b"connection", b"").lower() == b"close"
            or self._parser.get_http_version() != "1.1"
        ):
            self.close()
        self._owner.on_reply(self, flight, reply)

    def _end(self) -> None:
        """The server closed, or broke the protocol."""
        flight = self._flight
        if flight is not None and self._body_ends_here():
            self._finish(flight)
            return
        where = "within" if flight is not None and self._begun else "before"
        self._die(f"the server closed the connection {where} the reply")

    def _body_ends_here(self) -> bool:
        """Whether the server ends this body by closing the connection."""
        return (
            self._head_complete
            and b"content-length" not in self._head
            and b"transfer-encoding" not in self._head
        )

    def _die(self, words: str) -> None:
        flight, begun = self._flight, self._flight is not None and self._begun
        self.close()
        if flight is not None:
            flight.line = None
            self._owner.on_died(flight, words, begun=begun)
