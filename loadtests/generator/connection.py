"""Keep-alive HTTP over gevent sockets, with uvicorn's parser (httptools, which is llhttp).

Locust's own FastHttpSession took 197 µs of CPU a request here and geventhttpclient's client 115,
17 of them in its parser where this one takes 3: the generator must cost less than what it measures.
"""

from __future__ import annotations

import select
import ssl
import time
from collections import deque
from typing import NamedTuple

import gevent
import gevent.monkey
import httptools
from gevent import socket

from loadtests.inputs.route import TargetRoute


class HttpReply(NamedTuple):
    """A complete HTTP reply."""

    status: int
    head: dict[bytes, bytes]
    """Lower-case names; the first of those that are repeated."""
    body: bytes
    reads: tuple[tuple[float, int], ...] = ()
    """Streams: (instant, bytes of the body so far) at each read."""

    def header(self, name: str) -> str:
        """Return a header by its lower-case name; "" if it is missing."""
        return self.head.get(name.encode(), b"").decode("latin-1")


class ConnectionLost(Exception):
    """The server closed or refused the connection, or spoke no HTTP."""


READABLE = 1
POLL = gevent.monkey.get_original("select", "poll")
"""It looks and never waits, so it need not give way to other greenlets."""


class _DiedIdle(Exception):
    """The connection ended before the first byte of a reply."""


class ResponseParser:
    """A reply as far as it has arrived; the parser calls the `on_*` methods."""

    __slots__ = ("begun", "body", "complete", "head", "head_complete")

    def __init__(self) -> None:
        self.head: dict[bytes, bytes] = {}
        self.body = b""
        self.begun = self.head_complete = self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the first header of each name."""
        self.head.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """Remember that what follows is the body."""
        self.head_complete = True

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self.body += part

    def on_message_complete(self) -> None:
        """Remember that the reply is whole."""
        self.complete = True

    def ends_with_the_connection(self) -> bool:
        """Whether the server ends this body by closing the connection."""
        return (
            self.head_complete
            and b"content-length" not in self.head
            and b"transfer-encoding" not in self.head
        )

    def leaves_open(self, http_version: str) -> bool:
        """Whether the connection can carry another request."""
        asked_to_close = self.head.get(b"connection", b"").lower() == b"close"
        return self.complete and http_version == "1.1" and not asked_to_close


class Connections:
    """As many keep-alive connections to one server as there are requests in flight."""

    def __init__(self, route: TargetRoute, path: str, headers: dict[str, str]) -> None:
        self._route = route
        lines = {"host": route.host, "content-type": "application/json", **headers}
        head = f"POST {route.base}{path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = head.encode("latin-1") + b"content-length: "
        self._idle: deque[_Line] = deque()
        self.reopened = 0
        """Requests sent again because their connection had died while it was idle."""

    def post(self, body: bytes, timeout_s: float, *, timed: bool = False) -> HttpReply:
        """Send `body`, return the reply; `timed` keeps the instant of every read.

        Raises:
            gevent.Timeout: no complete reply within `timeout_s`.
            ConnectionLost: no complete reply and never will be.
        """
        request = self._head + b"%d\r\n\r\n" % len(body) + body
        timer = gevent.Timeout.start_new(timeout_s)
        try:
            idle = self._take_idle()
            if idle is not None:
                try:
                    return self._exchange(idle, request, timed=timed)
                except _DiedIdle:
                    # The server closed it before it read a byte of this: nothing was asked yet. A
                    # new connection is tried once; one that fails, too, is the server's failure.
                    self.reopened += 1
            return self._exchange(self._open(), request, timed=timed)
        except _DiedIdle as error:
            raise ConnectionLost("the server closed the connection before the reply") from error
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ConnectionLost(str(error)) from error
        finally:
            timer.close()

    def _exchange(self, line: _Line, request: bytes, *, timed: bool) -> HttpReply:
        """Send a request and read its reply; the connection is kept where it can be.

        Raises:
            _DiedIdle: the connection ended before the first byte of a reply.
        """
        reading = ResponseParser()
        parser = httptools.HttpResponseParser(reading)
        reads: list[tuple[float, int]] = []
        kept = False
        try:
            sent = line.socket.send(request)
            if sent < len(request):
                line.socket.sendall(request[sent:])
            while not reading.complete:
                data = line.receive()
                if not data:
                    _check_end(reading)
                    break
                reading.begun = True
                parser.feed_data(data)
                if timed:
                    reads.append((time.monotonic(), len(reading.body)))
            if reading.leaves_open(parser.get_http_version()):
                self._idle.append(line)
                kept = True
            return HttpReply(parser.get_status_code(), reading.head, reading.body, tuple(reads))
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
            if reading.begun:
                raise
            raise _DiedIdle from error
        finally:
            if not kept:
                line.close()

    def _take_idle(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_open():
                return line
            line.close()
        return None

    def _open(self) -> _Line:
        address = self._route.address
        if isinstance(address, str):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(address)
        else:
            connection = socket.create_connection(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._route.tls
        if tls is not None:
            connection = tls.wrap_socket(connection, server_hostname=self._route.name)
        return _Line(connection, encrypted=tls is not None)


class _Line:
    """A connection with the watcher that wakes its reader."""

    __slots__ = ("_encrypted", "_readable", "socket")

    def __init__(self, connection: socket.socket, *, encrypted: bool) -> None:
        self.socket, self._encrypted = connection, encrypted
        self._readable = gevent.get_hub().loop.io(connection.fileno(), READABLE)

    def receive(self) -> bytes:
        """Return what has arrived; b"" at the end."""
        if not self._encrypted:
            # To read before the answer is there would cost an exception.
            gevent.get_hub().wait(self._readable)
        data: bytes = self.socket.recv(65536)
        return data

    def is_open(self) -> bool:
        """Whether an idle connection is still usable: one that can be read has been closed.

        Under TLS what can be read may also be a session ticket; that one is given up, too.
        """
        look = POLL()
        look.register(self.socket.fileno(), select.POLLIN)
        return not look.poll(0)

    def close(self) -> None:
        """Give the descriptor back."""
        self._readable.close()
        self.socket.close()


def _check_end(reading: ResponseParser) -> None:
    """Accept that the server closed the connection, or say that it was too early."""
    if reading.ends_with_the_connection():
        return
    if not reading.begun:
        raise _DiedIdle
    raise ConnectionLost("the server closed the connection within the reply")
