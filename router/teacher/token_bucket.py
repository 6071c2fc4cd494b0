"""A rate and a burst as one number that refills: of dollars, of calls, of requests."""

from __future__ import annotations


class TokenBucket:
    """Filled at `per_s` up to what comes in during `burst_s`; without a rate it is always full.

    It may be overdrawn: the debt is refilled first.
    """

    def __init__(self, per_s: float | None, burst_s: float, now: float) -> None:
        self.per_s = per_s
        self._size = (per_s or 0.0) * burst_s
        self._level = self._size
        self._at = now

    def level(self, now: float) -> float:
        """Return the tokens there are."""
        if self.per_s is None:
            return float("inf")
        self._level = min(self._size, self._level + self.per_s * max(0.0, now - self._at))
        self._at = now
        return self._level

    def fill(self, now: float) -> float:
        """Return the share of the bucket that is full; 0 or less is empty."""
        level = self.level(now)
        if self.per_s is None:
            return 1.0
        return level / self._size if self._size else 0.0

    def take(self, amount: float) -> None:
        """Take tokens, whether or not there are enough."""
        self._level -= amount

    def seconds_until(self, amount: float, now: float) -> float:
        """Return how long it takes until `amount` tokens are there."""
        missing = amount - self.level(now)
        if missing <= 0.0:
            return 0.0
        return missing / self.per_s if self.per_s else float("inf")
