"""A shared budget that refills, as whoever spends of it sees it: its part of a bucket."""

from __future__ import annotations

from router.shared.leases import PICO
from router.shared.purse import Purse


class LeasedBucket:
    """What `TokenBucket` is for one process, over a purse: of dollars that all workers share."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    @property
    def per_s(self) -> float:
        """Dollars a second that come in for this process, when all holders spend alike."""
        return self._purse.budget.per_s / PICO / self._purse.holders

    def fill(self, now: float) -> float:
        """Return the share of its part that is there: 1 is all; 0 when nothing may be spent."""
        purse = self._purse
        if not purse.affords():
            return 0.0
        part = (purse.budget.size or 0) / purse.holders
        return min(1.0, (purse.in_hand + purse.left() / purse.holders) / part)

    def take(self, usd: float) -> None:
        """Spend dollars, whether or not there are enough."""
        self._purse.spend(round(usd * PICO))
