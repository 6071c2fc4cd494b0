"""Who looks on while requests are answered: spans, the access log. On every path, lane or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from router.http.wire.incoming import Request

HOT = frozenset({"/v1/classify", "/v1/chat/completions", "/v1/systemone", "/classify"})
PATHS = HOT | {"/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/models", "/metrics"}
PROBES = frozenset({"/healthz", "/readyz"})


class Observed(Protocol):
    """One request that is looked at."""

    def answered(self, status: int, fields: bytes) -> None:
        """The head of its answer is written: `fields` are header lines, CRLF each."""
        ...

    def over(self) -> None:
        """The answer is whole, or the client is gone."""
        ...


class Observer(Protocol):
    """Looks at requests."""

    def begin(self, request: Request) -> Observed | None:
        """A request is whole; None: this one is not looked at. May put a header on it."""
        ...


def name_of(path: str) -> str:
    """Return a path that is known, or `other`: what a client makes up is written nowhere."""
    return path if path in PATHS or path in PROBES else "other"


def values_of(fields: bytes, names: Sequence[bytes]) -> dict[bytes, str]:
    """Return those of an answer's header lines that have one of these names, in lower case."""
    lines = (line.partition(b": ") for line in fields.split(b"\r\n"))
    return {name: value.decode("latin-1") for name, _, value in lines if name in names}
