"""Whether pages of other origins may ask from a browser (CORS of the Fetch standard).

Off by default. An origin is let in by name, or all are. A preflight carries no key, so it is
answered before one is asked for; it says only what an allowed page may send.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from router.http.wire.head import Head

ANY = "*"
MAX_AGE_S = 600
"""How long a browser need not ask again."""
_NAMES = re.compile(rb"[A-Za-z0-9-]{1,64}(?:[ \t]*,[ \t]*[A-Za-z0-9-]{1,64}){0,63}")
_READABLE = (
    b"x-request-id, retry-after, server-timing, x-should-retry, x-raisehand-route, "
    b"x-raisehand-reason, x-raisehand-bundle, x-raisehand-confidence, x-raisehand-cost-usd, "
    b"x-raisehand-why, x-raisehand-teacher-request-id"
)
_PREFLIGHT = (
    b"access-control-allow-methods: GET, HEAD, POST\r\n"
    b"access-control-max-age: %d\r\nvary: access-control-request-headers\r\n" % MAX_AGE_S
)


class Cors:
    """Says what goes on answers to pages of other origins."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._any = ANY.encode() in self._origins

    def fields(self, head: Head) -> bytes:
        """Return header lines for any answer; none where no allowed page asks."""
        origin = head.headers.get(b"origin")
        vary = b"" if self._any else b"vary: origin\r\n"
        if origin is None or not (self._any or origin in self._origins):
            return vary
        allowed = ANY.encode() if self._any else origin
        return b"access-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\n%b" % (
            allowed,
            _READABLE,
            vary,
        )

    def preflight(self, head: Head) -> bytes | None:
        """Return header lines of the answer to a preflight; None: this is none of an allowed page.

        The header names asked for are said back, as `*` would not cover Authorization.
        """
        if head.method != "OPTIONS" or b"access-control-request-method" not in head.headers:
            return None
        if not (self._any or head.headers.get(b"origin") in self._origins):
            return None
        names = head.headers.get(b"access-control-request-headers", b"")
        if not _NAMES.fullmatch(names):
            return _PREFLIGHT
        return _PREFLIGHT + b"access-control-allow-headers: %b\r\n" % names
