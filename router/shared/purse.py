"""What this process may spend of one shared budget: the lease that it holds, and what it has spent.

Spending is counted in the process's seat and asks nobody. Whoever renews the lease does so on a
thread of its own; without a lease in hand there is nothing to spend, whoever is away.
"""

from __future__ import annotations

from collections.abc import Callable

from router.clock import Clock
from router.shared.leases import LEASE_S, Claim, Lease, SharedBudget
from router.shared.seat import Seat

FIRST = 40
"""The first slice, when no pace is known yet, is this part of the budget."""
AGAIN_S = 0.05
"""Between two renewals of a budget of which there is something left."""
EMPTY_S = 1.0
"""Between two questions whether there is something again."""


class Purse:
    """The lease of one process on one budget.

    Args:
        budget: which, for now.
        seat: where spending is counted.
        wake: called when more is needed soon.
        clock: seconds.
    """

    def __init__(
        self, budget: SharedBudget, seat: Seat, wake: Callable[[], None], clock: Clock
    ) -> None:
        self.budget = budget
        self._seat = seat
        self._wake = wake
        self._clock = clock
        self._slot = seat.slot(budget.name, budget.until)
        self.spent = seat.spent(self._slot)
        """What was spent since the seat began, in pico-dollars."""
        self._lease: Lease | None = None
        self._limit = self.spent
        self._low = 0
        """With less than this in hand more is asked for."""
        self._leased_at = clock()
        self._spent_then = self.spent
        self._called = False
        self._pending = 0

    def change(self, budget: SharedBudget) -> None:
        """Go by another limit, as soon as the lease is renewed."""
        if budget != self.budget:
            self.budget = budget
            self._call()

    @property
    def in_hand(self) -> int:
        """What may be spent now without asking, in pico-dollars; negative: a debt."""
        return self._limit - self.spent

    def affords(self, pending: int = 0) -> bool:
        """Whether more may be spent now than what is on its way; if not, more is asked for.

        Args:
            pending: what calls that run will probably cost, in pico-dollars.
        """
        self._pending = pending
        if self.budget.size is None or (self.budget.size and self.in_hand > pending):
            return True
        self._call()
        return False

    @property
    def used_up(self) -> bool:
        """Whether the budget is spent, as far as is known; if so, it is asked for again."""
        size = self.budget.size
        if size and (self._limit > self.spent or self._lease is None or self._lease.left > 0):
            return False
        if size is None:
            return False
        self._call()
        return True

    def spend(self, pico: int) -> None:
        """Count pico-dollars that were spent, whether or not there was enough in hand."""
        self.spent += pico
        self._seat.put(self._slot, self.spent)
        if self._limit - self.spent < self._low + self._pending:
            self._call()

    def left(self) -> float:
        """Return what was left in nobody's hands, and came in since, in pico-dollars."""
        came = self.budget.per_s * (self._clock() - self._leased_at)
        left = 0 if self._lease is None else self._lease.left
        return min(left + came, float(self.budget.size or 0))

    @property
    def holders(self) -> int:
        """How many share the budget, this one among them."""
        return 1 if self._lease is None else self._lease.holders

    def is_due(self) -> bool:
        """Whether the lease should be renewed now: it is half over, half spent, or too large."""
        if not self.budget.size:
            return False
        age = self._clock() - self._leased_at
        if self._lease is None:
            return True
        if self._called:
            return age >= (AGAIN_S if self._slice > 0 else EMPTY_S)
        moved = self.spent != self._spent_then or self.in_hand > self.budget.floor
        return age >= LEASE_S / 2 and moved

    def claim(self) -> Claim:
        """Return what to ask for: with what is on its way, it lasts for a lease at this pace."""
        if self._lease is None:
            first = (self.budget.size or 0) // FIRST
            return Claim(self.budget, self.spent, max(self.budget.floor, first))
        spent = self.spent
        pace = (spent - self._spent_then) / max(self._clock() - self._leased_at, AGAIN_S)
        want = int(pace * LEASE_S) + 2 * self._pending
        return Claim(self.budget, spent, max(self.budget.floor, want))

    def take(self, lease: Lease, claim: Claim) -> None:
        """Go by a lease that was given for a claim."""
        self._called = False
        self._lease, self._limit = lease, lease.limit
        self._leased_at, self._spent_then = self._clock(), claim.spent
        self._low = self._slice // 2

    @property
    def _slice(self) -> int:
        return self._limit - self._spent_then

    def _call(self) -> None:
        if not self._called and self.budget.size:
            self._called = True
            self._wake()
