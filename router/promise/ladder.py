"""What follows from audits: the threshold in force, raised and lowered again by evidence alone.

The rungs of a bundle are thresholds fixed when it took service: rung 0 is the certified one, each
next one lets the student answer less, above the last only the teacher answers.

Up. One monitor (`router.promise.monitor`) for each promise bets against what is *served*, whichever
rung is in force. `ebh` rejects promises at the share of the false-alarm budget that this spell may
spend; then everything escalates at once. A spell ends with an alarm, and the k-th may spend
1 / (k (k + 1)) of the budget, which sums to all of it: over the whole life of a bundle an alarm
while its promises hold has at most that probability.

Down. From the alarm on every draw compares what the student would have said with what the teacher
says, on every rung at once (`router.promise.proof`); escalated answers cost nothing more. The
ladder comes down to the lowest rung that this fresh evidence proves for every promise that was
rejected, rungs being proved from the strictest down. Serving a rung that has broken a rejected
promise at every draw since the alarm has probability at most `wrong_return`, over the whole life.

So the certificate is read anew with every audit: good news is never kept, bad news until it is
refuted. Why not just climb to the lowest rung that is not rejected? What is not rejected is not
proved: docs/watching.md has both, simulated. Pure: no clock, no I/O.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import Literal

from pydantic import Field

from costmodel.frozen import Frozen
from router.promise.ebh import rejected
from router.promise.monitor import Evidence, Monitor
from router.promise.proof import RungProof, Stakes, first_proved
from router.shared.records import Audit
from students.certificate import NEVER

OVERALL = ""
"""Stands for the overall promise where promises are keyed by the name of a class."""
EAGER_TOP = 10.0
"""Draws are so many times as frequent while everything escalates: they cost nothing more."""
EAGER = 3.0
"""The same while the threshold is raised: what is kept is paid for."""


class Standing(StrEnum):
    """Where a bundle stands."""

    WATCHING = "watching"
    """As certified."""
    RAISED = "raised"
    """The threshold is the lowest that audits since the alarm have proved."""
    ALARM = "alarm"
    """Only the teacher answers."""
    VOID = "void"
    """Only the teacher answers, until another bundle is certified: no audit can refute why."""


class Rules(Frozen):
    """What is fixed when a bundle takes service."""

    promise: Literal["system", "strict"]
    alphas: dict[str, float]
    """Disagreement allowed, by class; `OVERALL` for all of it."""
    thresholds: dict[str, float]
    """The certified ones, by the student's label."""
    rungs: tuple[float, ...] = ()
    """Thresholds above them, ascending."""
    false_alarm: float = Field(default=0.05, gt=0, lt=1)
    wrong_return: float = Field(default=0.05, gt=0, lt=1)

    @property
    def top(self) -> int:
        """The rung on which only the teacher answers."""
        return 1 + len(self.rungs)

    def kept_by(self, label: str | None, confidence: float | None) -> int:
        """How many rungs, the lowest first, let the student give this answer."""
        if label is None or confidence is None:
            return 0
        if not confidence >= self.thresholds.get(label, NEVER):
            return 0
        return 1 + bisect_right(self.rungs, confidence)


class LadderEvidence(Frozen):
    """All that a ladder remembers, for a file: a restart forgets no alarm."""

    rules: Rules
    rung: int = Field(ge=0)
    spell: int = Field(ge=1)
    """1 until the first alarm; each alarm begins the next."""
    accused: tuple[str, ...]
    """Promises rejected since rung 0 was last in force."""
    void: str = ""
    """Why the certificate rests on nothing any more; empty while it does."""
    void_figures: dict[str, float | int | str | None] = {}
    monitors: dict[str, Evidence]
    proofs: dict[str, tuple[Stakes, ...]]


class PromiseLadder:
    """The ladder of one bundle.

    Args:
        rules: what its certificate promises, and its rungs.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.rung = 0
        self.spell = 1
        self.accused: frozenset[str] = frozenset()
        self.monitors = self._monitors()
        self.proofs: dict[str, RungProof] = {}
        self.void = ""
        self.void_figures: dict[str, float | int | str | None] = {}

    @property
    def standing(self) -> Standing:
        """What the router may do."""
        if self.void:
            return Standing.VOID
        if self.rung == 0:
            return Standing.WATCHING
        return Standing.ALARM if self.rung == self.rules.top else Standing.RAISED

    @property
    def eagerness(self) -> float:
        """How many times as often as usual requests are to be drawn."""
        return {Standing.RAISED: EAGER, Standing.ALARM: EAGER_TOP}.get(self.standing, 1.0)

    @property
    def threshold(self) -> float | None:
        """Confidence below which the teacher answers; None: as certified, or it always does."""
        return self.rules.rungs[self.rung - 1] if self.standing is Standing.RAISED else None

    @property
    def e_values(self) -> dict[str, float]:
        """Evidence against each promise, as served; of the last alarm while nothing is."""
        return {name: one.state.e_value for name, one in self.monitors.items()}

    @property
    def alarm_at(self) -> float:
        """Evidence against one promise that is an alarm, whatever that against the others."""
        return len(self.monitors) / self._false_alarm

    @property
    def proof(self) -> float | None:
        """Evidence for the next lower rung, the least of what has to be proved; None at rung 0."""
        below = self.rung - 1
        return min((one.e_value(below) for one in self.proofs.values()), default=None)

    @property
    def proved_at(self) -> float:
        """Evidence for a rung that brings the ladder down to it."""
        return 1.0 / share_of(self.rules.wrong_return, max(1, self.spell - 1))

    def observe(self, audit: Audit) -> None:
        """Take one audit and move if it says so; of a void certificate it says nothing."""
        if self.void:
            return
        if self.rung < self.rules.top:
            self._watch(audit)
        kept_by = self.rules.kept_by(audit.student_label, audit.confidence)
        for name, proof in self.proofs.items():
            if self._concerns(name, audit):
                proof.observe(audit.disagreed, kept_by, of_all=self._of_all)
        self._move()

    def take_over(self, earlier: Evidence) -> None:
        """Join what a release without a ladder saw of the overall promise; its alarm stays one."""
        self.monitors[OVERALL].take_over(earlier)
        if self.monitors[OVERALL].alarmed:
            self._climb(frozenset((OVERALL,)))

    @property
    def evidence(self) -> LadderEvidence:
        """All that is remembered."""
        return LadderEvidence(
            rules=self.rules,
            rung=self.rung,
            spell=self.spell,
            accused=tuple(sorted(self.accused)),
            void=self.void,
            void_figures=self.void_figures,
            monitors={name: one.evidence for name, one in self.monitors.items()},
            proofs={name: one.stakes for name, one in self.proofs.items()},
        )

    @classmethod
    def resume(cls, evidence: LadderEvidence) -> PromiseLadder:
        """Go on from what an earlier process remembered."""
        ladder = cls(evidence.rules)
        ladder.rung, ladder.spell = evidence.rung, evidence.spell
        ladder.accused = frozenset(evidence.accused)
        ladder.void, ladder.void_figures = evidence.void, evidence.void_figures
        ladder.monitors = {name: Monitor.resume(one) for name, one in evidence.monitors.items()}
        ladder.proofs = {
            name: RungProof(evidence.rules.alphas[name], one)
            for name, one in evidence.proofs.items()
        }
        return ladder

    @property
    def _of_all(self) -> bool:
        return self.rules.promise == "system"

    def _watch(self, audit: Audit) -> None:
        if audit.escalated and not self._of_all:
            return
        for name, monitor in self.monitors.items():
            if self._concerns(name, audit):
                monitor.observe(audit.disagreed and not audit.escalated, audit.propensity)

    def _concerns(self, name: str, audit: Audit) -> bool:
        """Whether the promise is about this request: by the teacher's label, or the student's."""
        if name == OVERALL:
            return True
        return name == (audit.teacher_label if self._of_all else audit.student_label)

    def _move(self) -> None:
        if self.rung < self.rules.top:
            broken = rejected(self.e_values, self._false_alarm)
            if broken:
                self._climb(broken)
                return
        if self.rung > 0:
            self._come_down(first_proved(list(self.proofs.values()), self.rung, self.proved_at))

    def _come_down(self, rung: int) -> None:
        if rung < self.rung == self.rules.top:  # until now they show what the alarm was about
            self.monitors = self._monitors()
        self.rung = rung
        if rung == 0:
            self.accused, self.proofs = frozenset(), {}

    def _climb(self, broken: frozenset[str]) -> None:
        self.rung, self.spell = self.rules.top, self.spell + 1
        self.accused |= broken
        self.proofs = {
            name: RungProof.fresh(self.rules.alphas[name], self.rules.top)
            for name in sorted(self.accused)
        }

    @property
    def _false_alarm(self) -> float:
        """What the spell may spend whose evidence the monitors hold: at the top, the last one."""
        return share_of(self.rules.false_alarm, self.spell - (self.rung == self.rules.top))

    def _monitors(self) -> dict[str, Monitor]:
        false_alarm = share_of(self.rules.false_alarm, self.spell)
        return {
            name: Monitor(alpha, false_alarm=false_alarm)
            for name, alpha in self.rules.alphas.items()
        }


def share_of(budget: float, k: int) -> float:
    """What the k-th may spend, from 1, so that all of them together spend the budget."""
    return budget / (k * (k + 1))
