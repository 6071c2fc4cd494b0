"""Turning requests away before they are parsed, while too many are being worked on.

The batcher bounds what waits for the student. When the student is fast the event loop itself is
the bottleneck, and everything that is read must be answered: a 429 that costs a fraction of an
answer is what keeps the wait of the others bounded. But a client that is refused comes back at
once, and refusals alone could fill the core. So they get a part of it; beyond that, one more
request waits, which costs nothing, up to a second limit.
"""

from __future__ import annotations

from collections.abc import Callable

from router.clock import Clock
from router.errors import Overloaded
from router.http.desk import ErrorBody
from router.policy import Reason

REFUSALS_PER_S = 5_000.0
"""A refusal takes 13 to 20 µs: these take less than a tenth of a core."""
BURST = 256
"""Refusals that may come at once."""
PATIENCE = 4
"""Times the limit that may be in work where refusing more would take too much of the core."""


class Admission:
    """Says when there are too many requests in work, and counts those turned away.

    Args:
        limit: requests that may be in work at once.
        elsewhere: how many of those only wait for a teacher; they keep nobody from being answered.
    """

    def __init__(self, limit: int, elsewhere: Callable[[], int], clock: Clock) -> None:
        self._limit = limit
        self._elsewhere = elsewhere
        self._clock = clock
        self._affordable = float(BURST)
        self._at = clock()
        self.refused = 0

    def full(self, in_work: int, times: int = 1) -> bool:
        """Whether one more is too many."""
        limit = times * self._limit
        return in_work >= limit and in_work - self._elsewhere() >= limit

    def refuses(self, in_work: int, others_first: bool = False) -> bool:
        """Whether one more has to go; then it counts as refused.

        With `others_first` it goes only where it must: refusals are kept for older ones.
        """
        if not self.full(in_work):
            return False
        if self.full(in_work, PATIENCE):
            self.refused += 1
            return True
        return not others_first and self.affords()

    def affords(self) -> bool:
        """Whether there is time for a refusal now; then it counts as made."""
        now = self._clock()
        self._affordable = min(BURST, self._affordable + (now - self._at) * REFUSALS_PER_S)
        self._at = now
        if self._affordable < 1.0:
            return False
        self._affordable -= 1.0
        self.refused += 1
        return True


def ready_refusal(error_body: ErrorBody) -> tuple[bytes, bytes]:
    """Return header lines and body of the 429, in the words of a surface."""
    refusal = Overloaded("The router has as many requests in work as it may; retry in a moment.")
    refusal.reason = Reason.QUEUE_FULL.value
    body = error_body(refusal)
    fields = (
        b"content-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n"
        b"x-raisehand-route: refused\r\nx-raisehand-reason: queue_full\r\n"
    ) % len(body)
    return fields, body
