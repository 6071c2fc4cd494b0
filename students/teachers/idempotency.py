"""Idempotency keys: a call that is sent twice is answered from memory, and billed once.

Only a teacher that takes them does so (`teacher.idempotency_header`). A call keeps its key for as
long as nobody knows what became of it: through time-outs, cut connections and `kill -9`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

MEMORY = timedelta(hours=23)
"""How long a key is relied on: who takes them remembers them for a day."""


def new_call() -> str:
    """Return a name for a call that was never made."""
    return secrets.token_hex(16)


class CallKeys:
    """The keys of one attempt at a call: one for each request that it takes.

    A request's key depends on the call and on what is in it, so that the next attempt sends the
    same ones in whatever order; the same question a second time has another, as its answer is.
    """

    def __init__(self, call: str) -> None:
        self._call = call
        self._sent: Counter[bytes] = Counter()

    def key(self, url: str, body: bytes) -> str:
        """Return the key of a request that is about to be sent."""
        digest = hashlib.sha256(url.encode() + b"\n" + body).digest()
        self._sent[digest] += 1
        return f"{self._call}-{digest.hex()[:16]}-{self._sent[digest]}"


KEYS: ContextVar[CallKeys | None] = ContextVar("idempotency_keys", default=None)


@contextmanager
def attempt_at(call: str) -> Iterator[None]:
    """Send what is asked within under the keys of a call; an empty name is none."""
    before = KEYS.set(CallKeys(call) if call else None)
    try:
        yield
    finally:
        KEYS.reset(before)
