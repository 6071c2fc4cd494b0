"""Is a candidate no worse than the student that serves? A paired test that may be looked at always.

On each request that the router drew, both students are compared with the same answer of the
teacher: did its own answer stand and differ (`wrong`), would it have asked (`asks`). Of the
differences d in {-1, 0, 1} the mean is tested, against H0 "worse by `margin` or more", by betting:
the product of 1 + b (margin - d), averaged over stakes b that are fixed beforehand, is an e-process
(Waudby-Smith and Ramdas 2024; Ville 1939). A candidate may be promoted while both agreement and
cost are shown to be no worse; each alone at the whole error, since H0 is that either is. The same
bets the other way show that it is worse.

Pure: no clock, no I/O. Only the counts of differences are remembered; the test is their function,
evaluated anew at every look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from router.shared.records import Audit, AuditVerdict, Figure, Judge, Reopen
from students.sections import PromotionSection

_STAKES = tuple(0.99 * 2.0**-k for k in range(9))
"""Shares of the largest stake that cannot lose more than there is."""


class Outlook(StrEnum):
    """What a duel says."""

    OPEN = "candidate_open"
    NOT_WORSE = "candidate_not_worse"
    WORSE = "candidate_worse"


class Pair(msgspec.Struct, frozen=True):
    """Two students on one request that was drawn."""

    current_wrong: bool
    candidate_wrong: bool
    current_asks: bool
    candidate_asks: bool


class Tally3(msgspec.Struct):
    """How often a difference was -1 (the candidate is better), 0 and 1."""

    better: int = 0
    same: int = 0
    worse: int = 0

    def add(self, difference: int) -> None:
        """Count one."""
        if difference < 0:
            self.better += 1
        elif difference > 0:
            self.worse += 1
        else:
            self.same += 1

    @property
    def n(self) -> int:
        """Pairs compared."""
        return self.better + self.same + self.worse


class DuelEvidence(msgspec.Struct):
    """All that is remembered, for the store."""

    wrong: Tally3
    asks: Tally3
    shown_at: int | None = None
    """Pairs compared when it was shown to be no worse; None while it is not."""


class Duel:
    """One candidate beside one student: the store's `Judge` of the pair."""

    def __init__(self, rules: PromotionSection, evidence: DuelEvidence | None = None) -> None:
        self.rules = rules
        self.counts = evidence or DuelEvidence(Tally3(), Tally3())

    def take(self, pairs: Iterable[Pair]) -> None:
        """Count pairs, and note since when it is shown to be no worse."""
        for pair in pairs:
            self.counts.wrong.add(pair.candidate_wrong - pair.current_wrong)
            self.counts.asks.add(pair.candidate_asks - pair.current_asks)
        if self.outlook is not Outlook.NOT_WORSE:
            self.counts.shown_at = None
        elif self.counts.shown_at is None:
            self.counts.shown_at = self.counts.wrong.n

    @property
    def outlook(self) -> Outlook:
        """What is shown now."""
        rules, level = self.rules, math.log(1.0 / self.rules.error)
        wrong, asks = self.counts.wrong, self.counts.asks
        # Either may show that it is worse: half the error each.
        if max(
            log_e_worse(wrong, rules.margin), log_e_worse(asks, rules.cost_margin)
        ) >= level + math.log(2.0):
            return Outlook.WORSE
        shown = min(log_e_not_worse(wrong, rules.margin), log_e_not_worse(asks, rules.cost_margin))
        return Outlook.NOT_WORSE if shown >= level else Outlook.OPEN

    @property
    def share(self) -> float:
        """Which share of the traffic the candidate has earned by now; 1: all of it."""
        if self.counts.shown_at is None:
            return 0.0
        steps = (self.counts.wrong.n - self.counts.shown_at) // self.rules.step_audits
        return (*self.rules.steps, 1.0)[min(steps, len(self.rules.steps))]

    def observe(self, audit: Audit) -> None:
        """Nothing: a duel is told pairs."""

    @property
    def evidence(self) -> str:
        """All that is remembered."""
        return msgspec.json.encode(self.counts).decode()

    @property
    def verdict(self) -> AuditVerdict:
        """What follows; its reason is the outlook, so that a change of it is an event."""
        outlook = self.outlook
        return AuditVerdict(
            reason="" if outlook is Outlook.OPEN else outlook.value, figures=self._figures
        )

    @property
    def _figures(self) -> dict[str, Figure]:
        wrong, asks, rules = self.counts.wrong, self.counts.asks, self.rules
        return {
            "compared": wrong.n,
            "outlook": self.outlook.value,
            "fewer_wrong": wrong.better,
            "more_wrong": wrong.worse,
            "fewer_asked": asks.better,
            "more_asked": asks.worse,
            "margin": rules.margin,
            "e_agreement": _shown(log_e_not_worse(wrong, rules.margin)),
            "e_cost": _shown(log_e_not_worse(asks, rules.cost_margin)),
            "e_worse": _shown(
                max(log_e_worse(wrong, rules.margin), log_e_worse(asks, rules.cost_margin))
            ),
            "needed": 1.0 / rules.error,
            "earned_share": self.share,
        }


def reopen_duel(rules: PromotionSection) -> Reopen:
    """Return who judges a pair of students."""

    def reopen(evidence: str | None) -> Judge:
        if evidence is None:
            return Duel(rules)
        return Duel(rules, msgspec.json.decode(evidence, type=DuelEvidence))

    return reopen


def log_e_not_worse(counts: Tally3, margin: float) -> float:
    """Log evidence against "worse by the margin or more"."""
    return _log_mean([_log_wealth(counts, margin, b / (1.0 + margin)) for b in _STAKES])


def log_e_worse(counts: Tally3, margin: float) -> float:
    """Log evidence against "worse by the margin or less"."""
    return _log_mean([_log_wealth(counts, margin, -b / (1.0 + margin)) for b in _STAKES])


def _log_wealth(counts: Tally3, margin: float, stake: float) -> float:
    return (
        counts.better * math.log1p(stake * (margin + 1.0))
        + counts.same * math.log1p(stake * margin)
        + counts.worse * math.log1p(stake * (margin - 1.0))
    )


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


def _shown(log_e: float) -> float:
    return math.exp(min(log_e, 50.0))
