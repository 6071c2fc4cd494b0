"""Is the promise still kept? An alarm that may be looked at after every audit.

Under H0 the audited answers disagree with the teacher at a rate of at most alpha, whatever happened
before. Bet against it: stake m in odds, for several m, wins when the rate is higher; by Ville's
inequality the wealth, an e-process, ever reaches 1 / false_alarm with probability at most
`false_alarm` while the promise holds, however often one looks (Ramdas et al. 2023).

Traffic that was good for a month would bury the evidence of a bad day. So the wealth is spread over
starting times: half bets from the first audit, the rest starts later, a little in every block of
audits, with weights that sum to 1. The guarantee stays, over the whole life of the certificate.

What follows from an alarm, and what comes after it, is `router.promise.ladder`'s. Pure: no clock,
no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from costmodel.frozen import Frozen

ODDS = (1.25, 1.5, 2.0, 3.0)
"""Alternatives: odds of disagreement so many times those of alpha."""
BLOCK = 50
"""Audits between two starting times."""
FIRST_STAKE = 0.5


class Status(StrEnum):
    """What the router may do."""

    WATCHING = "watching"
    ALARM = "alarm"
    """The promise is broken: everything escalates."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known after some audits.

    `disagreement` is the Horvitz-Thompson (Hájek) estimate of the audited rate, None before the
    first audit; `e_value` is the evidence against the promise, alarm at 1 / false_alarm.
    """

    status: Status
    audits: int
    disagreements: int
    disagreement: float | None
    e_value: float


class Evidence(Frozen):
    """All that a monitor remembers, for a file: a restart forgets no alarm."""

    alpha: float = Field(gt=0, lt=1)
    false_alarm: float = Field(gt=0, lt=1)
    audits: int = Field(ge=0)
    disagreements: int = Field(ge=0)
    weight: float
    """Sum of 1 / propensity over audits."""
    weight_disagreed: float
    stakes: tuple[float, ...] = Field(min_length=len(ODDS), max_length=len(ODDS))
    """Wealth by alternative, of the stakes that have started."""
    cash: float
    """Wealth that waits for a later start."""
    alarmed: bool


class Monitor:
    """Watches one certificate.

    Args:
        alpha: disagreement that the certificate allows, 1 - agreement.
        false_alarm: probability that it ever alarms while the promise holds.
    """

    def __init__(self, alpha: float, *, false_alarm: float = 0.05) -> None:
        self.alpha = alpha
        self.false_alarm = false_alarm
        self.alarmed = False
        self._audits = self._disagreements = 0
        self._weight = self._weight_disagreed = 0.0
        self._stakes = [0.0] * len(ODDS)
        self._cash = 1.0
        self._ratios = {d: [likelihood_ratio(m, alpha, d) for m in ODDS] for d in (True, False)}

    @property
    def state(self) -> State:
        """What is known now."""
        return State(
            status=Status.ALARM if self.alarmed else Status.WATCHING,
            audits=self._audits,
            disagreements=self._disagreements,
            disagreement=self._weight_disagreed / self._weight if self._weight else None,
            e_value=self._cash + sum(self._stakes),
        )

    def observe(self, disagreed: bool, propensity: float) -> State:
        """Take one audit: did the kept answer differ, and how likely was this request drawn.

        Raises:
            ValueError: the propensity is not in (0, 1]: such a request cannot have been drawn.
        """
        if not 0.0 < propensity <= 1.0:
            raise ValueError(f"propensity is {propensity!r}; an audit was drawn with one in (0, 1]")
        if self._audits % BLOCK == 0:
            started = starting_share(self._audits // BLOCK)
            self._cash -= started
            self._stakes = [stake + started / len(ODDS) for stake in self._stakes]
        ratios = self._ratios[bool(disagreed)]
        self._stakes = [stake * ratio for stake, ratio in zip(self._stakes, ratios, strict=True)]
        self._audits += 1
        self._disagreements += disagreed
        self._weight += 1.0 / propensity
        self._weight_disagreed += disagreed / propensity
        state = self.state
        if state.e_value >= 1.0 / self.false_alarm and not self.alarmed:
            self.alarmed = True
            state = self.state
        return state

    @property
    def evidence(self) -> Evidence:
        """All that is remembered."""
        return Evidence(
            alpha=self.alpha,
            false_alarm=self.false_alarm,
            audits=self._audits,
            disagreements=self._disagreements,
            weight=self._weight,
            weight_disagreed=self._weight_disagreed,
            stakes=tuple(self._stakes),
            cash=self._cash,
            alarmed=self.alarmed,
        )

    def take_over(self, earlier: Evidence) -> None:
        """Join what another monitor of the same certificate saw of other audits.

        The mean of two e-processes is one, whichever audits each of them bet on; an alarm stays.
        """
        self.alarmed = self.alarmed or earlier.alarmed
        if not self._audits:
            joined = earlier
        else:
            own = self.evidence
            joined = own.model_copy(
                update={
                    name: getattr(own, name) + getattr(earlier, name)
                    for name in ("audits", "disagreements", "weight", "weight_disagreed")
                }
                | {
                    "stakes": tuple(
                        (a + b) / 2 for a, b in zip(own.stakes, earlier.stakes, strict=True)
                    ),
                    "cash": (own.cash + earlier.cash) / 2,
                }
            )
        self._remember(joined)

    def _remember(self, evidence: Evidence) -> None:
        self._audits, self._disagreements = evidence.audits, evidence.disagreements
        self._weight, self._weight_disagreed = evidence.weight, evidence.weight_disagreed
        self._stakes, self._cash = list(evidence.stakes), evidence.cash

    @classmethod
    def resume(cls, evidence: Evidence) -> Monitor:
        """Go on from what an earlier process remembered."""
        monitor = cls(evidence.alpha, false_alarm=evidence.false_alarm)
        monitor.alarmed = evidence.alarmed
        monitor._remember(evidence)
        return monitor


def starting_share(block: int) -> float:
    """Share of the wealth that starts to bet at the head of this block; all blocks sum to 1.

    1 / ln(j + e) − 1 / ln(j + 1 + e) telescopes, and falls as slowly as a sum allows.
    """
    later = 1.0 / math.log(block + math.e) - 1.0 / math.log(block + 1 + math.e)
    return (1.0 - FIRST_STAKE) * later + (FIRST_STAKE if block == 0 else 0.0)


def likelihood_ratio(odds: float, alpha: float, disagreed: bool) -> float:
    """Of the alternative against alpha. Its mean is at most 1 for every rate up to alpha."""
    scale = 1.0 - alpha + odds * alpha
    return odds / scale if disagreed else 1.0 / scale
