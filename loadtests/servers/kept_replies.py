"""What a server remembers of requests that came with an idempotency key, as Stripe's does."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from loadtests.servers.asgi import JSON, Header, Scope

REPLAYED: Header = (b"idempotent-replayed", b"true")


@dataclass(slots=True)
class KeptReply:
    """A request and, once it is answered, its reply."""

    asked: bytes
    content: bytes | None = None
    kind: Header = JSON

    def keep(self, content: bytes, kind: Header) -> None:
        """Answer it, once and for all."""
        self.content, self.kind = content, kind


class KeptReplies:
    """The latest requests by key."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, KeptReply] = OrderedDict()

    def begin(self, key: bytes, path: str, body: bytes, most: int) -> tuple[bool, KeptReply | None]:
        """Return whether a key is new, and its request; None where that is another one than this.

        `most` are remembered, this one among them; none where the key is empty.
        """
        if not key:
            return True, KeptReply(b"")
        asked = hashlib.sha256(path.encode() + b"\n" + body).digest()
        kept = self._kept.get(key)
        if kept is not None:
            return False, kept if kept.asked == asked else None
        kept = self._kept[key] = KeptReply(asked)
        while len(self._kept) > most:
            self._kept.popitem(last=False)
        return True, kept

    def forget(self, key: bytes) -> None:
        """Let a request be made anew: it got no reply."""
        self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def key_of(scope: Scope) -> bytes:
    """Return a request's idempotency key, or nothing."""
    return next((value for name, value in scope["headers"] if name == b"idempotency-key"), b"")
