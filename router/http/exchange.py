"""One request for the ASGI application, and its answer: the body is whole before it begins."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from router.errors import Unavailable
from router.http.wire.incoming import Request

Message = MutableMapping[str, Any]
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\r\n\0]*")
WAITED_S = "raisehand.waited_s"
"""In a scope: how long the request took to arrive."""
_BARE = frozenset({204, 304})
"""Statuses of answers without a body."""


class Wire(Protocol):
    """Where an answer is written."""

    @property
    def disconnected(self) -> bool:
        """Whether the client hung up."""
        ...

    async def writable(self) -> None:
        """Wait until the client reads what was written."""
        ...

    def begin(self, status: int, fields: bytes, *, closes: bool) -> None:
        """Write the head of an answer; `closes`: its end is the connection's."""
        ...

    def write(self, data: bytes) -> None:
        """Write a part of its body."""
        ...

    def end(self) -> None:
        """It is all written; the next request may be read."""
        ...

    def give_up(self) -> None:
        """It will never be whole: cut the connection."""
        ...

    def apologise(self, fault: BaseException) -> None:
        """Write what went wrong as the whole answer."""
        ...


class Exchange:
    """Carries a request to an ASGI application and its answer to the wire."""

    def __init__(self, wire: Wire, request: Request) -> None:
        self._wire = wire
        self._request = request
        self._read = False
        self._over = asyncio.Event()
        self._started = self._ended = False
        self._chunked = self._bare = False
        self._missing: int | None = None
        """Bytes of the body that were announced and not sent yet."""

    @property
    def disconnected(self) -> bool:
        """Whether the client hung up."""
        return self._wire.disconnected

    def hang_up(self) -> None:
        """The client is gone."""
        self._over.set()

    async def run(self, app: Any, scope: MutableMapping[str, Any]) -> None:
        """Let the application answer; whatever it does, the wire gets one answer or is cut."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._fail(Unavailable("The router stopped before there was an answer; ask again."))
        except Exception as fault:
            self._fail(fault)
        else:
            if not self._ended:
                self._wire.give_up()
        self._over.set()

    async def receive(self) -> Message:
        """Give the body; asked again, wait for the end."""
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a part of the answer; what is said to a client that left is lost.

        Raises:
            RuntimeError: the application breaks HTTP.
        """
        await self._wire.writable()
        if self.disconnected:
            return
        if self._ended or self._started == (message["type"] == "http.response.start"):
            raise RuntimeError(f"{message['type']} has no place here")
        if self._started:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            self._send_head(message["status"], list(message.get("headers", ())))

    def _send_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        head = self._request.head
        lines = [b"%b: %b" % (name.lower(), value) for name, value in headers]
        if not all(map(_FIELD.fullmatch, lines)):
            raise RuntimeError("a header of the answer is not well formed")
        given = dict(line.split(b": ", 1) for line in lines)
        closes = False
        self._bare = head.method == "HEAD" or status in _BARE
        if b"content-length" in given:
            self._missing = int(given[b"content-length"])
        elif not self._bare and b"transfer-encoding" not in given:
            closes = head.version == "1.0"  # which knows no chunks
            self._chunked = not closes
            lines += [b"transfer-encoding: chunked"] if self._chunked else []
        closes = closes or b"close" in given.get(b"connection", b"").lower()
        self._started = True
        self._wire.begin(status, b"".join(line + b"\r\n" for line in lines), closes=closes)

    def _send_body(self, body: bytes, more: bool) -> None:
        if not self._bare:
            if self._missing is not None:
                self._missing -= len(body)
                if self._missing < 0 or (self._missing and not more):
                    raise RuntimeError("the body's length is not what was announced")
            if self._chunked:
                body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (
                    b"" if more else b"0\r\n\r\n"
                )
            if body:
                self._wire.write(body)
        if not more:
            self._ended = True
            self._over.set()
            self._wire.end()

    def _fail(self, fault: BaseException) -> None:
        if self._ended or self.disconnected:
            return
        self._ended = True
        if self._started:
            self._wire.give_up()
        else:
            self._wire.apologise(fault)


def scope_of(
    request: Request, transport: asyncio.Transport, state: Mapping[str, Any]
) -> MutableMapping[str, Any]:
    """Return what ASGI says of a request. HEAD is asked as GET: its body is not written."""
    head = request.head
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": "GET" if head.method == "HEAD" else head.method,
        "scheme": "http",
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": "",
        "headers": list(head.pairs),
        "server": _address(transport.get_extra_info("sockname")),
        "client": _address(transport.get_extra_info("peername")),
        "state": dict(state),
        WAITED_S: request.waited_s,
    }


def _address(name: Any) -> tuple[str, int] | None:
    """Return host and port of a socket's name; None for one that has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
