"""What becomes of a request that was sent: a whole reply, or the kind of its loss."""

from __future__ import annotations

from typing import NamedTuple


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


class RequestLost(NamedTuple):
    """No complete reply came, and none will."""

    kind: str
    """timeout or connection."""
    words: str = ""
