"""What a key may spend of a UTC day: by one process alone, or leased of what all share."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from costmodel.units import DAY_S
from router.clock import Clock
from router.shared.leases import PICO, SharedBudget
from router.shared.purse import Purse
from router.shared.purser import Purser

_DIGITS = len(str(PICO)) - 1
AHEAD_S = 60.0
"""So long before midnight the budget of the next day is leased."""
KEPT_S = 2 * DAY_S
"""How long after its day a seat keeps a count."""


class DayBudget(Protocol):
    """What a key has spent of the current UTC day, and whether it may spend more."""

    limit: Decimal | None
    """Dollars a day; None: as much as it likes."""

    @property
    def used_up(self) -> bool:
        """Whether the day's dollars are spent."""
        ...

    def affords(self, pending: float = 0.0) -> bool:
        """Whether this process may spend more now than the dollars that are on their way."""
        ...

    def spend(self, usd: Decimal) -> None:
        """Count dollars, whether or not there were enough."""
        ...

    def spent(self) -> Decimal:
        """Return the dollars that this process has spent today."""
        ...


DayBudgets = Callable[[str], DayBudget]
"""From a key's name to what keeps its day."""


class OwnDay:
    """The budget of a process that shares it with nobody and remembers nothing."""

    def __init__(self, wall: Clock = time.time) -> None:
        self.limit: Decimal | None = None
        self._wall = wall
        self._ends = 0.0
        self._usd = Decimal(0)

    @property
    def used_up(self) -> bool:
        """Whether the day's dollars are spent."""
        return self.limit is not None and self.spent() >= self.limit

    def affords(self, pending: float = 0.0) -> bool:
        """Whether more is left than the dollars that are on their way."""
        return self.limit is None or float(self.limit - self.spent()) > pending

    def spend(self, usd: Decimal) -> None:
        """Count dollars."""
        self._usd = self.spent() + usd

    def spent(self) -> Decimal:
        """Return the dollars of the current UTC day."""
        now = self._wall()
        if now >= self._ends:  # a clock set back does not give the day's budget again
            self._ends, self._usd = end_of_day(now), Decimal(0)
        return self._usd


class LeasedDay:
    """The budget of a key, shared with all workers of all hosts, of which some is leased here.

    Args:
        key: its name.
        purser: of this process.
        begun: what was spent today before there were leases, as far as is known, in pico-dollars.
        wall: Unix seconds.
    """

    def __init__(self, key: str, purser: Purser, begun: int = 0, wall: Clock = time.time) -> None:
        self._key = key
        self._purser = purser
        self._wall = wall
        self._limit: Decimal | None = None
        self._usual, self._usual_pico = Decimal(0), 0
        self._ends = end_of_day(wall())
        self._turns = self._ends - AHEAD_S
        self._begun = begun
        self._purse = self._open(self._ends)

    @property
    def limit(self) -> Decimal | None:
        """Dollars a day; None: as much as it likes."""
        return self._limit

    @limit.setter
    def limit(self, usd: Decimal | None) -> None:
        self._limit = usd
        self._purse = self._open(self._ends)

    @property
    def used_up(self) -> bool:
        """Whether the day's dollars are spent, by whomever."""
        return self._limit is not None and self._today().used_up

    def affords(self, pending: float = 0.0) -> bool:
        """Whether this process holds a lease with more on it than the dollars on their way."""
        return self._today().affords(round(pending * PICO))

    def spend(self, usd: Decimal) -> None:
        """Count dollars on the lease."""
        if usd is not self._usual:  # a student's answers cost the same, and Decimals are slow
            self._usual, self._usual_pico = usd, int(usd.scaleb(_DIGITS))
        self._today().spend(self._usual_pico)

    def spent(self) -> Decimal:
        """Return the dollars that this process has spent today."""
        return Decimal(self._today().spent) / PICO

    def _today(self) -> Purse:
        now = self._wall()
        if now >= self._turns:
            self._turn(now)
        return self._purse

    def _turn(self, now: float) -> None:
        """Lease of tomorrow before it begins, and of no other day once it has."""
        self._begun = 0
        if now < self._ends:
            self._open(self._ends + DAY_S)
            self._turns = self._ends
            return
        self._purser.close_purse(self._purse.budget.name)
        self._ends = end_of_day(now)
        self._turns = self._ends - AHEAD_S
        self._purse = self._open(self._ends)

    def _open(self, ends: float) -> Purse:
        name = budget_name(self._key, ends)
        size = None if self._limit is None else round(self._limit * PICO)
        return self._purser.open(SharedBudget(name, size, until=ends + KEPT_S, begun=self._begun))


def budget_name(key: str, ends: float) -> str:
    """Name a key's budget of the UTC day that ends at a Unix time."""
    return f"key/{key}/{datetime.fromtimestamp(ends - DAY_S, UTC).date().isoformat()}"


def end_of_day(at: float) -> float:
    """Return the Unix time at which the UTC day of `at` ends."""
    return at - at % DAY_S + DAY_S
