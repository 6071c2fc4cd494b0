"""Keep-alive HTTP over gevent sockets, with geventhttpclient's parser.

Locust's own FastHttpSession took 197 µs of CPU a request here, geventhttpclient's client 115 and
this 56, of which most is the kernel's: the generator must cost less than what it measures.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
from gevent import socket
from geventhttpclient.response import HTTPResponse


class Reply(NamedTuple):
    """A complete HTTP reply."""

    status: int
    head: HTTPResponse
    body: bytes
    reads: tuple[tuple[float, int], ...] = ()
    """Streams: (instant, bytes of the body so far) at each read."""

    def header(self, name: str) -> str:
        """Return a header by its name in any case; the first if it is repeated, "" if missing."""
        value = self.head.get(name, "")
        return value if isinstance(value, str) else value[0]


class ConnectionLost(Exception):
    """The server closed or refused the connection, or spoke no HTTP."""


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
            connection.sendall(request)
            parser = HTTPResponse("POST")
            reads: list[tuple[float, int]] = []
            while not parser.message_complete:
                data = connection.recv(65536)
                parser.feed(data)
                if timed:
                    reads.append((time.monotonic(), len(parser._body_buffer)))
                if not data and not parser.message_complete:
                    raise ConnectionLost("the server closed the connection before the reply")
            if parser.should_keep_alive():
                self._idle.append(connection)
                connection = None
            return Reply(parser.get_code(), parser, bytes(parser._body_buffer), tuple(reads))
        except (OSError, HTTPException) as error:
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
