"""Keep-alive HTTP over gevent sockets, with uvicorn's parser (httptools, which is llhttp).

Locust's own FastHttpSession took 197 µs of CPU a request here and geventhttpclient's client 115,
17 of them in its parser where this one takes 3: the generator must cost less than what it measures.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
import httptools
from gevent import socket


class Reply(NamedTuple):
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


class Reading:
    """A reply as far as it has arrived; the parser calls the `on_*` methods."""

    __slots__ = ("body", "complete", "head", "head_complete")

    def __init__(self) -> None:
        self.head: dict[bytes, bytes] = {}
        self.body = b""
        self.head_complete = self.complete = False

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

    def __init__(self, url: str, path: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        lines = {"host": parts.netloc, "content-type": "application/json", **headers}
        head = f"POST {parts.path}{path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = head.encode("latin-1") + b"content-length: "
        self._idle: deque[socket.socket] = deque()

    def post(self, body: bytes, timeout_s: float, *, timed: bool = False) -> Reply:
        """Send `body`, return the reply; `timed` keeps the instant of every read.

        Raises:
            gevent.Timeout: no complete reply within `timeout_s`.
            ConnectionLost: no complete reply and never will be.
        """
        request = self._head + b"%d\r\n\r\n" % len(body) + body
        connection: socket.socket | None = None
        timer = gevent.Timeout.start_new(timeout_s)
        try:
            connection = self._take()
            sent = connection.send(request)
            if sent < len(request):
                connection.sendall(request[sent:])
            reading = Reading()
            parser = httptools.HttpResponseParser(reading)
            reads: list[tuple[float, int]] = []
            while not reading.complete:
                if self._tls is None:
                    # To read before the answer is there would cost an exception.
                    connection._wait(connection._read_event)
                data = connection.recv(65536)
                if not data:
                    if reading.ends_with_the_connection():
                        break
                    raise ConnectionLost("the server closed the connection before the reply")
                parser.feed_data(data)
                if timed:
                    reads.append((time.monotonic(), len(reading.body)))
            if reading.leaves_open(parser.get_http_version()):
                self._idle.append(connection)
                connection = None
            return Reply(parser.get_status_code(), reading.head, reading.body, tuple(reads))
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ConnectionLost(str(error)) from error
        finally:
            timer.close()
            if connection is not None:
                connection.close()

    def _take(self) -> socket.socket:
        while self._idle:
            connection = self._idle.pop()
            if _is_open(connection):
                return connection
            connection.close()
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_hostname=self._host)
        return connection


def _is_open(connection: socket.socket) -> bool:
    """Whether an idle connection is still usable: one that can be read has been closed."""
    if isinstance(connection, ssl.SSLSocket):
        return True
    try:
        connection._sock.recv(1, socket.MSG_PEEK)  # the raw socket under gevent's never blocks
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
