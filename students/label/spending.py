"""A limit on money that cannot be crossed: a call is reserved, and noted, before it is made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from costmodel.money.pricing import Price, TokenUsage
from students.errors import BudgetReached

_KEY_BYTES = 32
_CALL = "teacher, usd, asked_at, payer, keys, repeat, call"
PAID_BY = "CASE ? WHEN '' THEN payer = '' ELSE substr(payer, 1, ?) = ? END"
"""The condition on `payer` for the values (payers, their length, payers)."""


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """A call that gave no answer.

    `usd` is what it cost; unconfirmed: what it cost at most. `keys` are the `text_key`s of what was
    asked, where that is known, `repeat` how often it had been asked before. `call` is its name, if
    it was made under idempotency keys.
    """

    usd: Decimal
    confirmed: bool
    keys: tuple[bytes, ...] = ()
    repeat: int = 0
    call: str = ""


class CallLog:
    """Calls that are made and calls that gave no answer, in a cache's file.

    A call is written down before it is made: one that a kill cut off is found by whoever opens the
    file next, and stands from then on among those that gave no answer and may have been billed.

    Attributes:
        payer: who asks now, beside each call; empty: labelling.
    """

    def __init__(self, db: sqlite3.Connection, teacher: int, payer: str) -> None:
        self.payer = payer
        self._db = db
        self._teacher = teacher

    def put_asked(
        self,
        keys: Sequence[bytes],
        at_most: Decimal,
        at: datetime,
        repeat: int = 0,
        call: str = "",
    ) -> None:
        """Write down that a call is about to be made, and what it can cost.

        One that is among those without an answer, by its name, is no longer: it is made again.
        """
        # As old as it was: from its first attempt on the teacher remembers it.
        [began] = self._db.execute(
            "SELECT min(asked_at) FROM broken_calls WHERE call = ? AND call <> ''", (call,)
        ).fetchone()
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM broken_calls WHERE call = ? AND call <> ''", (call,))
        self._db.execute(
            f"INSERT INTO calls_in_flight ({_CALL}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._teacher, str(at_most), began or at.isoformat(), self.payer, b"".join(keys),
                repeat, call,
            ),
        )  # fmt: skip
        self._db.execute("COMMIT")

    def put_returned(self, keys: Sequence[bytes], repeat: int = 0) -> None:
        """Write down that a call ended without an answer."""
        self._db.execute(
            "DELETE FROM calls_in_flight WHERE teacher = ? AND keys = ? AND repeat = ?",
            (self._teacher, b"".join(keys), repeat),
        )

    def put_broken(self, usd: Decimal, confirmed: bool, at: datetime) -> None:
        """Remember the bill of a call that gave no answer; unconfirmed: it may have none."""
        self._db.execute(
            f"INSERT INTO broken_calls (confirmed, {_CALL}) VALUES (?, ?, ?, ?, ?, x'', 0, '')",
            (int(confirmed), self._teacher, str(usd), at.isoformat(), self.payer),
        )

    def broken_calls(self, payers: str = "") -> list[BrokenCall]:
        """Return calls without an answer: labelling's, or of those whose names begin so."""
        return self._read(PAID_BY, (payers, len(payers), payers))

    def broken(self, payers: str = "") -> tuple[Decimal, Decimal]:
        """Return what calls without an answer cost, and what they may have cost on top."""
        sums = [Decimal(0), Decimal(0)]
        for call in self.broken_calls(payers):
            sums[0 if call.confirmed else 1] += call.usd
        return sums[0], sums[1]

    def unended(self, since: datetime) -> list[BrokenCall]:
        """Return who asks now's calls that were cut off and, by name, can be made again."""
        return self._read(
            "payer = ? AND call <> '' AND asked_at >= ?", (self.payer, since.isoformat())
        )

    def _read(self, where: str, values: Sequence[object]) -> list[BrokenCall]:
        rows = self._db.execute(
            "SELECT usd, confirmed, keys, repeat, call FROM broken_calls "
            f"WHERE teacher = ? AND {where} ORDER BY rowid",
            (self._teacher, *values),
        )
        return [
            BrokenCall(
                Decimal(usd),
                bool(confirmed),
                tuple(keys[i : i + _KEY_BYTES] for i in range(0, len(keys), _KEY_BYTES)),
                repeat,
                call,
            )
            for usd, confirmed, keys, repeat, call in rows
        ]


def find_lost(db: sqlite3.Connection) -> None:
    """Move calls of a process that is no more to those that may have been billed."""
    db.execute("BEGIN")
    db.execute(
        f"INSERT INTO broken_calls (confirmed, {_CALL}) SELECT 0, {_CALL} FROM calls_in_flight"
    )
    db.execute("DELETE FROM calls_in_flight")
    db.execute("COMMIT")


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

    async def reserve(self, at_most: TokenUsage, instead_of: Decimal = Decimal(0)) -> Decimal:
        """Set aside what a call can cost; wait for calls in flight if that is too much right now.

        `instead_of` is unconfirmed until then, for the same call.

        Raises:
            BudgetReached: it is too much even with nothing in flight.
        """
        amount = self.cost(at_most)
        async with self._settled:
            more = amount - instead_of
            while self._max_usd is not None and self._total() + more > self._max_usd:
                if self._reserved == 0:
                    raise BudgetReached(
                        f"${self._total():.4f} of the allowed ${self._max_usd} are spent and the "
                        f"next question may cost ${amount:.4f}; every answer is kept: raise "
                        "--max-usd (in the task max_labelling_usd) and run the same command again"
                    )
                await self._settled.wait()
            self.unconfirmed -= instead_of
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

    async def confirm(self, unconfirmed: Decimal, paid: Decimal | None, unsaid: Decimal) -> None:
        """Replace what was unconfirmed of a call by what was paid; None: it stays so."""
        if paid is None:
            return
        async with self._settled:
            self.unconfirmed += unsaid - unconfirmed
            self.spent += paid
            self._settled.notify_all()

    def _total(self) -> Decimal:
        return self.spent + self.unconfirmed + self._reserved
