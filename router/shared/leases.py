"""Budgets that workers of all hosts spend together: each leases a slice and spends within it.

A budget is a row: how much of it is handed out. A lease is a row: up to which sum its holder may
spend, all told. Both change in one transaction under the budget's lock. What is handed out counts
as spent until its holder says that it was not: a holder that died overspends nothing, and what it
held comes back when whoever takes over its `Seat` tells what was spent.

Money is whole pico-dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from costmodel.units import DAY_S

LEASE_S = 10.0
"""How long a slice should last at the pace of the last one; it is renewed at half that time."""
LIVE_S = 2 * LEASE_S
"""A holder that has not renewed for so long is not counted among those who share."""
KEPT_S = 3 * DAY_S
"""How long the store keeps a budget that nobody leases of."""
FLOOR = 1_000
"""The smallest slice is this part of the budget: it is what a holder keeps that spends nothing."""
PICO = 10**12
Execute = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]


class SharedBudget(msgspec.Struct, frozen=True):
    """A sum that many may spend of together.

    Attributes:
        name: the same for all who share it; another one every day for a budget of a day.
        size: all of it, or what a budget that refills can hold, in pico-dollars; None: no limit,
            so that nobody leases, and what is spent is counted for a limit to come.
        per_s: what comes in, in pico-dollars a second; 0 for a fixed sum.
        until: Unix seconds after which a seat may forget it; 0: never.
        begun: what was spent of it before anybody leased, as far as the asking host knows.
    """

    name: str
    size: int | None
    per_s: float = 0.0
    until: float = 0.0
    begun: int = 0

    @property
    def floor(self) -> int:
        """The smallest slice, in pico-dollars."""
        return -(-(self.size or 0) // FLOOR)


class Claim(msgspec.Struct, frozen=True):
    """What a holder has spent of a budget since it began, and how much it would like to hold."""

    budget: SharedBudget
    spent: int
    want: int


class Lease(msgspec.Struct, frozen=True):
    """What a holder may do until it asks again.

    Attributes:
        limit: it may spend until it has spent so much since it began, in pico-dollars.
        left: of the whole budget, in nobody's hands.
        holders: how many share the budget now.
    """

    limit: int
    left: int
    holders: int


class BudgetStanding(msgspec.Struct, frozen=True):
    """How a budget stands: how much of it is handed out, as of a moment."""

    handed_out: int
    at: float


def settle(
    budget: SharedBudget, standing: BudgetStanding, held: int, claim: Claim, others: int, now: float
) -> tuple[BudgetStanding, Lease]:
    """Take back what a holder did not spend and hand it a new slice.

    Args:
        budget: which.
        standing: how it stood.
        held: up to which sum the holder might have spent so far.
        claim: what it did spend, and wants.
        others: further holders that are alive.
        now: Unix seconds, of the store.

    Returns:
        How the budget stands then, and the lease: at most 1/(2N) of what is left to N holders, so
        that what many hold is never much of what is left; the floor where that would be less.
    """
    refilled = int(budget.per_s * max(0.0, now - standing.at))
    handed_out = max(0, max(0, standing.handed_out - refilled) - held + claim.spent)
    left = max(0, (budget.size or 0) - handed_out)
    holders = others + 1
    slice_ = min(claim.want, max(left // (2 * holders), min(left, budget.floor)))
    after = BudgetStanding(handed_out + slice_, max(standing.at, now))
    return after, Lease(claim.spent + slice_, max(0, left - slice_), holders)


def lease(
    execute: Execute, seat: str, claims: Sequence[Claim], now: float, for_update: str
) -> dict[str, Lease]:
    """Renew the leases of one seat in the transaction of `execute`; by the names of the budgets."""
    found = {}
    for claim in sorted(claims, key=lambda claim: claim.budget.name):  # so that two do not deadlock
        budget = claim.budget
        if execute(
            "insert into budgets (name, handed_out, at) values (%s, %s, %s) "
            "on conflict do nothing returning name",
            (budget.name, budget.begun, now),
        ):
            _forget(execute, now)
        [(handed_out, at)] = execute(
            "select handed_out, at from budgets where name = %s" + for_update, (budget.name,)
        )
        rows = execute(
            "select seat, spend_to, live_until from leases where budget = %s", (budget.name,)
        )
        # A store that was lost knows no lease: what was spent of a day is still spent, and what
        # was spent of a budget that refills has come in again since.
        unknown = claim.spent if budget.per_s else 0
        held = next((spend_to for holder, spend_to, _ in rows if holder == seat), unknown)
        others = sum(holder != seat and live > now for holder, _, live in rows)
        standing, new = settle(budget, BudgetStanding(handed_out, at), held, claim, others, now)
        execute(
            "update budgets set handed_out = %s, at = %s where name = %s",
            (standing.handed_out, standing.at, budget.name),
        )
        execute(
            "insert into leases (budget, seat, spend_to, live_until) values (%s, %s, %s, %s) "
            "on conflict (budget, seat) do update set spend_to = excluded.spend_to, "
            "live_until = excluded.live_until",
            (budget.name, seat, new.limit, now + LIVE_S),
        )
        found[budget.name] = new
    return found


def give_back(
    execute: Execute, seat: str, spent: Callable[[str], int | None], for_update: str
) -> None:
    """End a seat: what it held and, as `spent` knows of a budget, did not spend is there again."""
    rows = execute("select budget, spend_to from leases where seat = %s order by budget", (seat,))
    for name, spend_to in rows:
        known = spent(name)
        if known is None:
            continue  # counts as spent
        execute("select 1 from budgets where name = %s" + for_update, (name,))
        execute(
            "update budgets set handed_out = handed_out - %s where name = %s",
            (spend_to - known, name),
        )
        execute("delete from leases where budget = %s and seat = %s", (name, seat))


def _forget(execute: Execute, now: float) -> None:
    """Delete the budgets of days gone by, whenever a new one begins."""
    old = "select name from budgets where at < %s"
    execute(f"delete from leases where budget in ({old})", (now - KEPT_S,))
    execute("delete from budgets where at < %s", (now - KEPT_S,))
