"""Turning requests away before they are parsed, while too many are being worked on.

The batcher bounds what waits for the student. When the student is fast the event loop itself is
the bottleneck, and everything that is read must be answered: a 429 that costs a tenth of an answer
is what keeps the answers of the others coming (goodput), and their wait bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from router.edge import native_error, openai_error
from router.errors import Overloaded
from router.policy import Reason
from router.protocol import status_line

_BEGINS = b"POST "
_LENGTH = b"\r\ncontent-length:"
_CLOSE = b"\r\nconnection: close"


class Admission:
    """Counts requests in work and refuses more of them.

    Args:
        limit: requests that may be in work at once.
        elsewhere: how many of those only wait for a teacher; they keep nobody from being answered.
    """

    def __init__(self, limit: int, elsewhere: Callable[[], int]) -> None:
        self.limit = limit
        self.refused = 0
        self._elsewhere = elsewhere
        self._refusals: Mapping[bytes, bytes] = {
            b"/v1/classify": _whole_reply(native_error(_refusal())),
            b"/v1/systemone": _whole_reply(native_error(_refusal())),
            b"/v1/chat/completions": _whole_reply(openai_error(_refusal())),
        }

    def refusal(self, data: bytes, in_work: int) -> bytes | None:
        """Return the answer to a whole request of a hot route that is one too many, else None."""
        if in_work - self._elsewhere() < self.limit or not data.startswith(_BEGINS):
            return None
        refusal = self._refusals.get(data[len(_BEGINS) : data.find(b" ", len(_BEGINS))])
        if refusal is None or not _is_whole(data):
            return None
        self.refused += 1
        return refusal


def _is_whole(data: bytes) -> bool:
    """Whether `data` is exactly one request that keeps its connection: the parser may skip it."""
    end = data.find(b"\r\n\r\n")
    head = data[: end + 2].lower()
    start = head.find(_LENGTH)
    if end < 0 or start < 0 or _CLOSE in head:
        return False
    length = head[start + len(_LENGTH) : head.find(b"\r\n", start + 2)].strip()
    return length.isdigit() and len(length) < 10 and len(data) == end + 4 + int(length)


def _refusal() -> Overloaded:
    refusal = Overloaded("The router has as many requests in work as it may; retry in a moment.")
    refusal.reason = Reason.QUEUE_FULL.value
    return refusal


def _whole_reply(body: bytes) -> bytes:
    return (
        b"%bcontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n"
        b"x-raisehand-route: refused\r\nx-raisehand-reason: queue_full\r\n\r\n%b"
    ) % (status_line(429), len(body), body)
