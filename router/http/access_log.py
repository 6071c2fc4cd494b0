"""One line a request, or of a share of them: without texts, keys or addresses, off by default."""

from __future__ import annotations

import logging
import random

from router.clock import Clock
from router.http.observer import PROBES, name_of, values_of
from router.http.wire.incoming import Request

_NAMES = (b"x-request-id", b"x-raisehand-route", b"x-raisehand-reason", b"x-raisehand-bundle")
GONE = 499
"""Status of a request whose client left before its answer began; nginx's number."""
log = logging.getLogger("raisehand.access")


class AccessLog:
    """Draws requests and writes down how each was answered.

    Args:
        share: of the requests, in (0, 1]; probes are never written down.
    """

    def __init__(self, share: float, clock: Clock, rng: random.Random | None = None) -> None:
        self._share = share
        self._clock = clock
        self._draw = (rng or random.Random()).random

    def begin(self, request: Request) -> _Line | None:
        """Draw one request."""
        if request.head.path in PROBES or self._draw() >= self._share:
            return None
        return _Line(request, self._clock)


class _Line:
    """What is known of one request so far."""

    def __init__(self, request: Request, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._began = clock() - request.waited_s
        self._status = GONE
        self._said: dict[bytes, str] = {}

    def answered(self, status: int, fields: bytes) -> None:
        """Note what the answer says of itself."""
        self._status, self._said = status, values_of(fields, _NAMES)

    def over(self) -> None:
        """Write the line."""
        head, said = self._request.head, self._said
        method = head.method if head.method.isalpha() else "other"
        path = name_of(head.path)
        log.info(
            "%s %s %d",
            method,
            path,
            self._status,
            extra={
                "request_id": said.get(b"x-request-id"),
                "method": method,
                "path": path,
                "status": self._status,
                "duration_ms": round((self._clock() - self._began) * 1000, 3),
                "route": said.get(b"x-raisehand-route"),
                "reason": said.get(b"x-raisehand-reason"),
                "bundle": said.get(b"x-raisehand-bundle"),
                "body_bytes": len(self._request.body),
            },
        )
