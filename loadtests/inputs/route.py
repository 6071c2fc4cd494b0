"""How a target is reached: TCP, TLS with one's own authority or certificate, or a Unix socket."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loadtests.errors import BadLoadSpec

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec


@dataclass(frozen=True, slots=True)
class TargetRoute:
    """The way to a server."""

    host: str
    """What the Host header says."""
    name: str
    """Whose name a TLS certificate must have."""
    address: tuple[str, int] | str
    """Host and port, or the path of a Unix socket."""
    base: str = ""
    """What every path begins with."""
    tls: ssl.SSLContext | None = None

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a plain client for the few requests outside the measured window."""
        if isinstance(self.address, str):
            return _UnixConnection(self.address, timeout_s)
        host, port = self.address
        if self.tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self.tls)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def route_of(spec: LoadSpec) -> TargetRoute:
    """Return the way to the target of a load test.

    Raises:
        BadLoadSpec: a certificate or key cannot be read.
    """
    parts = urlsplit(spec.url)
    if parts.scheme == "unix":
        return TargetRoute("localhost", "localhost", parts.path)
    assert parts.hostname is not None
    tls = _context(spec) if parts.scheme == "https" else None
    port = parts.port or (80 if tls is None else 443)
    return TargetRoute(parts.netloc, parts.hostname, (parts.hostname, port), parts.path, tls)


def _context(spec: LoadSpec) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=spec.ca)
        if spec.client_cert is not None:
            context.load_cert_chain(spec.client_cert, spec.client_key)
    except (OSError, ssl.SSLError) as error:
        named = spec.ca if spec.client_cert is None else f"{spec.ca or ''} {spec.client_cert}"
        raise BadLoadSpec(
            f"ca, client_cert: {str(named).strip()} cannot be used ({error.strerror or error}); "
            "PEM files are needed"
        ) from None
    if spec.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_files(*paths: Path | None) -> None:
    """See that files that are named exist.

    Raises:
        ValueError: names the first that does not.
    """
    for path in paths:
        if path is not None and not path.is_file():
            raise ValueError(f"there is no file {path}")
