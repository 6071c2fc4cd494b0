"""Turning requests away before they are parsed, while too many are being worked on.

The batcher bounds what waits for the student. When the student is fast the event loop itself is
the bottleneck, and everything that is read must be answered: a 429 that costs a fraction of an
answer is what keeps the answers of the others coming (goodput), and their wait bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from router.errors import Overloaded, Refusal
from router.policy import Reason
from router.protocol import status_line


class Admission:
    """Says when there are too many requests in work, and counts those turned away.

    Args:
        limit: requests that may be in work at once.
        elsewhere: how many of those only wait for a teacher; they keep nobody from being answered.
    """

    def __init__(self, limit: int, elsewhere: Callable[[], int]) -> None:
        self._limit = limit
        self._elsewhere = elsewhere
        self.refused = 0

    def refuses(self, in_work: int) -> bool:
        """Whether one more is too many; then it counts as refused."""
        if in_work < self._limit or in_work - self._elsewhere() < self._limit:
            return False
        self.refused += 1
        return True


def whole_refusal(error_body: Callable[[Refusal], bytes]) -> bytes:
    """Return the 429, from status line to body, in the words of a surface."""
    refusal = Overloaded("The router has as many requests in work as it may; retry in a moment.")
    refusal.reason = Reason.QUEUE_FULL.value
    body = error_body(refusal)
    return (
        b"%bcontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n"
        b"x-raisehand-route: refused\r\nx-raisehand-reason: queue_full\r\n\r\n%b"
    ) % (status_line(429), len(body), body)
