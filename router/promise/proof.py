"""Is the promise kept again, and from which threshold on? Evidence for it, rung by rung.

A rung is a threshold, fixed when the bundle took service. Under H0 the answers that a rung would
keep differ from the teacher's at a rate of at least alpha, whatever happened before. Stakes on
lower odds win when the rate is lower; their wealth reaches 1 / delta with probability at most delta
(Ville 1939) as long as H0 has held at every audit since the first stake: the mirror image of the
alarm in `router.promise.monitor`, and spread over starting times as that is, since traffic is often
bad for a while before it is good again.

Rungs are proved from the strictest down. The first one at which H0 holds would have to be proved
before any rung below it, so all of them may be tested at the whole of delta (fixed-sequence
testing, here with e-processes). One audit speaks of every rung that it would have let through:
whichever is in force, the teacher's answer and the student's are both known.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from costmodel.frozen import Frozen
from router.promise.monitor import BLOCK, likelihood_ratio, starting_share

LOWER_ODDS = (0.8, 2 / 3, 0.5, 0.2)
"""Alternatives: odds of disagreement so many times those of alpha."""


class Stakes(Frozen):
    """The wealth of one rung, for a file."""

    audits: int = Field(default=0, ge=0)
    bets: tuple[float, ...] = Field(
        default=(0.0,) * len(LOWER_ODDS), min_length=len(LOWER_ODDS), max_length=len(LOWER_ODDS)
    )
    """By alternative, of the stakes that have started."""
    cash: float = 1.0
    """What waits for a later start."""

    @property
    def e_value(self) -> float:
        """Evidence that the rung keeps the promise."""
        return self.cash + sum(self.bets)


class RungProof:
    """Evidence that each of some rungs keeps one promise, from now on.

    Args:
        alpha: disagreement that the promise allows.
        stakes: of each rung, the lowest first.
    """

    def __init__(self, alpha: float, stakes: Sequence[Stakes]) -> None:
        self.alpha = alpha
        self._audits = [one.audits for one in stakes]
        self._bets = [list(one.bets) for one in stakes]
        self._cash = [one.cash for one in stakes]
        self._ratios = {
            d: [likelihood_ratio(odds, alpha, d) for odds in LOWER_ODDS] for d in (True, False)
        }

    @classmethod
    def fresh(cls, alpha: float, rungs: int) -> RungProof:
        """Begin with no evidence for any rung."""
        return cls(alpha, [Stakes()] * rungs)

    def observe(self, disagreed: bool, kept_by: int, *, of_all: bool) -> None:
        """Take one audit.

        Args:
            disagreed: whether student and teacher differ.
            kept_by: how many rungs, the lowest first, would have let the student answer.
            of_all: the promise is about all traffic, so that what a rung escalates agrees; else it
                is about the answers kept alone.
        """
        for rung in range(len(self._cash) if of_all else kept_by):
            if self._audits[rung] % BLOCK == 0:
                started = starting_share(self._audits[rung] // BLOCK)
                self._cash[rung] -= started
                self._bets[rung] = [bet + started / len(LOWER_ODDS) for bet in self._bets[rung]]
            ratios = self._ratios[disagreed and rung < kept_by]
            self._bets[rung] = [b * r for b, r in zip(self._bets[rung], ratios, strict=True)]
            self._audits[rung] += 1

    @property
    def stakes(self) -> tuple[Stakes, ...]:
        """All that is remembered, the lowest rung first."""
        return tuple(
            Stakes(audits=n, bets=tuple(bets), cash=cash)
            for n, bets, cash in zip(self._audits, self._bets, self._cash, strict=True)
        )

    def e_value(self, rung: int) -> float:
        """Evidence for one rung."""
        return self._cash[rung] + sum(self._bets[rung])


def first_proved(proofs: Sequence[RungProof], below: int, level: float) -> int:
    """Return the lowest rung that every proof supports, as do all rungs from there to `below`.

    `level` is the evidence that is needed; `below` comes back where not even the next lower rung
    has it.
    """
    rung = below
    while rung > 0 and all(proof.e_value(rung - 1) >= level for proof in proofs):
        rung -= 1
    return rung
