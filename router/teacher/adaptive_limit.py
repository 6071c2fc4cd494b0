"""How many calls a teacher can take now, learnt from how its calls end.

Additive increase, multiplicative decrease, as TCP does. A gradient of latencies (Netflix's
Gradient2) was tried first: begun under load, it takes the standing queue for the teacher's normal
speed and never shrinks (4 servers, 0.1 s each: 64 in flight, 1.7 s each). A duration that is too
long by the operator's own measure has no such memory.
"""

from __future__ import annotations


class AdaptiveLimit:
    """A limit between `min_limit` and `max_limit`, moved by every finished call.

    A good call adds 1/limit (one more slot a round trip), but only while at least half of the
    slots are used: else the load, not the limit, decides. A congested call takes the limit times
    `backoff`.

    Args:
        max_limit: never more calls than this; also where it starts.
        slow_s: a call that took longer is congested, even when it was answered.
        min_limit: never fewer: probes go on.
    """

    def __init__(
        self, max_limit: int, *, slow_s: float, min_limit: int = 1, backoff: float = 0.9
    ) -> None:
        self._max = float(max_limit)
        self._min = float(min(min_limit, max_limit))
        self._slow_s = slow_s
        self._backoff = backoff
        self._estimate = self._max

    @property
    def limit(self) -> int:
        """Calls allowed at once now."""
        return int(self._estimate)

    def record(self, seconds: float, inflight: int, congested: bool) -> int:
        """Learn from one finished call (`inflight` counts it too) and return the new limit.

        `congested`: it timed out, or was refused with 429 or 5xx.
        """
        if congested or seconds > self._slow_s:
            self._estimate = max(self._min, self._estimate * self._backoff)
        elif inflight >= self._estimate / 2:
            self._estimate = min(self._max, self._estimate + 1.0 / self._estimate)
        return self.limit
