"""How a remote student's questions travel: over a Unix socket, or over HTTP to Ray Serve."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from router.errors import BadSettings
from router.student import engine_messages as wire

SCHEME = "ray://"


class EngineConnection(Protocol):
    """One connection; a question, then its answer."""

    def ask(self, message: wire.Message) -> wire.Message:
        """Send a message and return the answer.

        Raises:
            OSError, EOFError, ValueError, msgspec.DecodeError: there is none.
        """
        ...

    def timeout(self, seconds: float) -> None:
        """Allow so long for each answer from now on."""
        ...

    def close(self) -> None:
        """Give the connection up."""
        ...


@dataclass(frozen=True, slots=True)
class ServeAddress:
    """Where students on Ray Serve are asked: ray://HOST:PORT and the application's route."""

    host: str
    port: int
    route: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.host}:{self.port}{self.route}"


def serve_address(url: str) -> ServeAddress:
    """Read an address as people write it, e.g. ray://ray-head:8000/students.

    Raises:
        BadSettings: it is none.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if f"{parts.scheme}://" != SCHEME or not host or not port or parts.username or parts.query:
        raise BadSettings(
            f"--engine is {url}; it is own, shared, or where Ray Serve answers over HTTP: "
            "ray://HOST:PORT, and the application's route if it has one, e.g. "
            "ray://ray-head:8000/students"
        )
    return ServeAddress(host, port, parts.path.rstrip("/"))


def connect(engine: Path | ServeAddress, timeout_s: float) -> EngineConnection:
    """Connect; each answer may take so long.

    Raises:
        OSError: nobody is there.
    """
    if isinstance(engine, ServeAddress):
        return _Http(engine, timeout_s)
    return _Socket(engine, timeout_s)


class _Socket:
    """To the engine of this host."""

    def __init__(self, engine: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(engine))
        except BaseException:
            self._socket.close()
            raise
        self._replies: IO[bytes] = self._socket.makefile("rb")

    def ask(self, message: wire.Message) -> wire.Message:
        self._socket.sendall(wire.frame(message))
        return wire.message_in(self._read(wire.length_in(self._read(wire.HEADER))))

    def timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    def _read(self, n: int) -> bytes:
        data = self._replies.read(n)
        if len(data) < n:
            raise EOFError("the engine hung up")
        return data


class _Http:
    """To whichever replica Ray Serve chooses for each question: the path names the bundle."""

    def __init__(self, address: ServeAddress, timeout_s: float) -> None:
        self._address = address
        self._path = address.route
        self._http = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
        self._http.connect()

    def ask(self, message: wire.Message) -> wire.Message:
        if isinstance(message, wire.Open):
            self._path = f"{self._address.route}/{Path(message.bundle).name}"
        try:
            self._http.request("POST", self._path, wire.frame(message))
            reply = self._http.getresponse()
            body = reply.read()
        except http.client.HTTPException as error:
            raise EOFError(f"{self._address}: {type(error).__name__}") from None
        if reply.status != http.HTTPStatus.OK:
            # No replica, too many questions, or one that died with this question.
            raise ConnectionError(f"{self._address} answered {reply.status} {reply.reason}")
        return wire.message_in(body[wire.HEADER :])

    def timeout(self, seconds: float) -> None:
        self._http.timeout = seconds
        if self._http.sock is not None:
            self._http.sock.settimeout(seconds)

    def close(self) -> None:
        self._http.close()
