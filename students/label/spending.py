"""A limit on money that cannot be crossed: every call is reserved before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from costmodel.money.pricing import Price, TokenUsage
from students.errors import BudgetReached


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """A call that gave no answer.

    `usd` is what it cost; unconfirmed: what it cost at most. `keys` are the `text_key`s of what was
    asked, where that is known.
    """

    usd: Decimal
    confirmed: bool
    keys: tuple[bytes, ...] = ()


class Spending:
    """What was spent, what calls in flight may still cost, and the limit on the sum.

    Attributes:
        spent: paid, earlier runs and calls that broke off included.
        unconfirmed: reserved beyond that, for calls that broke off or whose bill was not told.
    """

    def __init__(
        self,
        price: Price,
        max_usd: Decimal | None,
        *,
        spent: Decimal = Decimal(0),
        unconfirmed: Decimal = Decimal(0),
        clock: Callable[[], datetime],
    ) -> None:
        self.spent = spent
        self.unconfirmed = unconfirmed
        self._price = price
        self._max_usd = max_usd
        self._reserved = Decimal(0)
        self._clock = clock
        self._settled = asyncio.Condition()

    def cost(self, usage: TokenUsage) -> Decimal:
        """Price some usage at this moment."""
        return self._price.cost(usage, self._clock()).usd

    def costs(self, usages: Sequence[TokenUsage]) -> list[Decimal]:
        """Price each of some usages at this moment; of one call, many are the same."""
        at = self._clock()
        priced: dict[TokenUsage, Decimal] = {}
        for usage in usages:
            if usage not in priced:
                priced[usage] = self._price.cost(usage, at).usd
        return [priced[usage] for usage in usages]

    async def reserve(self, at_most: TokenUsage) -> Decimal:
        """Set aside what a call can cost; wait for calls in flight if that is too much right now.

        Raises:
            BudgetReached: it is too much even with nothing in flight.
        """
        amount = self.cost(at_most)
        async with self._settled:
            while self._max_usd is not None and self._total() + amount > self._max_usd:
                if self._reserved == 0:
                    raise BudgetReached(
                        f"${self._total():.4f} of the allowed ${self._max_usd} are spent and the "
                        f"next question may cost ${amount:.4f}; every answer is kept: raise "
                        "--max-usd (in the task max_labelling_usd) and run the same command again"
                    )
                await self._settled.wait()
            self._reserved += amount
        return amount

    async def settle(
        self, reserved: Decimal, paid: Decimal | None, unsaid: Decimal = Decimal(0)
    ) -> None:
        """Replace a reservation by what was paid; None: it broke off and may have been billed.

        `unsaid` may have been billed beyond what was paid by estimate.
        """
        async with self._settled:
            self._reserved -= reserved
            if paid is None:
                self.unconfirmed += reserved
            else:
                self.spent += paid
                self.unconfirmed += unsaid
            self._settled.notify_all()

    def _total(self) -> Decimal:
        return self.spent + self.unconfirmed + self._reserved
