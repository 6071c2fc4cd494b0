"""The certificate: the statement that was proved about one artefact, and nothing more.

The arithmetic that produces it is in `students.certify.certify`.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

from pydantic import Field

from costmodel.frozen import Frozen

LEAST_KEPT = 0.05
"""A student that answers less of the traffic saves nothing that pays for running it."""
NEVER = 2.0
"""A threshold above every confidence: answers of this class always escalate."""


class ClassPromise(Frozen):
    """What is promised on one class, beside the overall promise.

    `system`: of the n calibration rows that the teacher gives the class, `disagreements` were kept
    and answered otherwise. `strict`: of the n answers of the class kept, `disagreements` differ.
    """

    label: str
    agreement: float
    n: int
    disagreements: int
    agreement_lower_bound: float

    @property
    def is_proved(self) -> bool:
        """Whether anything is; else (`strict`) such an answer of the student always escalates."""
        return self.n > 0


class Certificate(Frozen):
    """One certified threshold, with every number that the statement rests on."""

    promise: Literal["system", "strict"]
    agreement: float
    """Promised agreement, 1 - alpha."""
    confidence: float
    """1 - delta."""
    thresholds: tuple[float, ...]
    """Per predicted class, shape (K,): the student answers when confidence >= its class's one."""
    sampling: Literal["rows", "latest", "groups"] = "rows"
    """What the calibration rows are a random sample of; see `students.task.Sampling`."""
    n_calibration: int
    n_unusable: int = 0
    """Of these, rows that the teacher gave no label: kept, they count as disagreements."""
    n_accepted: int
    disagreements: int
    """Among the accepted calibration rows."""
    agreement_lower_bound: float
    """What is proved at `confidence`: the exact bound of the most disagreements allowed."""
    coverage: float
    """n_accepted / n_calibration."""
    method: str
    teacher_model: str
    teacher_revision: str
    teacher_mode: str
    artefact_sha256: str
    calibration_sha256: str
    use: int = Field(ge=1)
    """1 for the first certificate made on these rows; later ones spend a smaller delta."""
    date: str
    per_class: tuple[ClassPromise, ...] = ()

    @property
    def statement(self) -> str:
        """The exact claim, for people."""
        allowed = 1 - self.agreement
        scope = (
            "of all answers, at most"
            if self.promise == "system"
            else "of the answers the student gives, at most"
        )
        return (
            f"With probability at least {self.confidence:.0%} over the draw of "
            f"{self.n_calibration:,} {self._drawn}: {scope} {allowed:.1%} differ from what the "
            f"teacher {self.teacher_model} (revision {self.teacher_revision}), asked once, would "
            f"answer. Observed: {self.disagreements} disagreements in {self.n_accepted:,} answers "
            f"kept; agreement is at least {self.agreement_lower_bound:.4f}. {self._classes}"
            f"{self._unusable}"
            f"It says nothing about truth, about any {'other' if self.per_class else 'single'} "
            "class or customer, or about traffic that changes."
        )

    @property
    def _drawn(self) -> str:
        return {
            "rows": "calibration rows",
            "latest": "calibration rows, at random among the latest (it is about traffic like it)",
            "groups": "groups, one calibration row of each (a group counts once, however large)",
        }[self.sampling]

    @property
    def _unusable(self) -> str:
        if not self.n_unusable:
            return ""
        return (
            f"To {self.n_unusable:,} of the calibration rows the teacher gave no usable answer; "
            "where the student answers these, it counts as differing. "
        )

    @property
    def _classes(self) -> str:
        scope = (
            "of all texts that the teacher calls {!r}, at most {:.1%} get another answer"
            if self.promise == "system"
            else "of the answers {!r} that the student gives, at most {:.1%} differ"
        )
        return "".join(
            f"With the same probability: {scope.format(one.label, 1 - one.agreement)} (observed: "
            f"{one.disagreements} in {one.n:,}). "
            if one.is_proved
            else f"Nothing is proved of the answer {one.label!r}: the teacher is asked instead. "
            for one in self.per_class
        )


class NoCertificate(Frozen):
    """Why nothing (or next to nothing) is certified, and what would help: no proof of anything."""

    promise: Literal["system", "strict"]
    agreement: float
    confidence: float
    label: str | None = None
    """The class whose own promise failed; None for the overall promise."""
    n_calibration: int
    """Calibration rows of that promise."""
    raw_disagreement: float
    """Share of the calibration rows on which the student, answering everything, disagrees."""
    minimum_escalation: float
    """Share that must escalate even with a perfect ranking of the rows."""
    best_agreement: float
    """Highest agreement that these rows support at one threshold."""
    best_coverage: float
    """Share of the rows kept at that threshold."""
    rows_needed: int | None
    """Calibration rows in all that would probably certify; None where more would not help."""
    rows_missing: int | None
    """How many of them are not there yet: all, where these rows should have done but did not."""
    target_coverage: float | None = None
    """Share of the traffic that would be kept with them."""
    inputs_missing: int | None = None
    """Inputs to add, so that so many become calibration rows; None if unknown."""
    usd_needed: Decimal | None = None
    """What these inputs would cost at this teacher's price so far; None if unknown."""

    def in_inputs(self, calibration_share: float, usd_per_label: Decimal | None) -> NoCertificate:
        """Return it with how many inputs are to be added, and what they would cost.

        Args:
            calibration_share: calibration rows per labelled input, above 0.
            usd_per_label: what an input has cost so far; None if unknown.
        """
        if self.rows_missing is None:
            return self
        inputs = math.ceil(self.rows_missing / calibration_share)
        usd = None if usd_per_label is None else inputs * usd_per_label
        return self.model_copy(update={"inputs_missing": inputs, "usd_needed": usd})

    @property
    def statement(self) -> str:
        """One sentence for people: what was asked, the feasible best, what to do."""
        scope = "over all traffic" if self.promise == "system" else "of the answers kept"
        if self.label is not None:
            scope = f"on what the teacher calls {self.label!r}"
        best = (
            f"the best they support is {self.best_agreement:.1%} at {self.best_coverage:.1%} "
            f"coverage, and at least {self.minimum_escalation:.1%} of that traffic would have to "
            "escalate however well the student ranks it"
            if self.n_calibration
            else "nothing can be said without any"
        )
        return (
            f"cannot certify {self.agreement:.1%} agreement {scope} at {self.confidence:.0%} "
            f"confidence from {self.n_calibration:,} calibration rows; {best}; {self.advice}, or "
            "promise less"
        )

    @property
    def advice(self) -> str:
        """What would help, how much of it, what it costs and what it would probably bring."""
        if self.rows_needed is None or self.rows_missing is None:
            return "more calibration rows would not help: train a better student"
        if self.target_coverage is not None and self.target_coverage < LEAST_KEPT:
            return (
                f"more calibration rows would keep only about {self.target_coverage:.1%} of the "
                "traffic: train a better student"
            )
        fresh = " fresh" if self.rows_missing == self.rows_needed else ""
        price = "" if self.usd_needed is None else f", about ${self.usd_needed:,.2f}"
        kept = (
            ""
            if self.target_coverage is None
            else f", which would probably keep {self.target_coverage:.0%} of the traffic"
        )
        if self.inputs_missing is None:
            return f"label about {self.rows_needed:,}{fresh} calibration rows{kept}"
        return (
            f"label about {self.inputs_missing:,} more inputs{price} ({self.rows_missing:,} of them"
            f" become{fresh} calibration rows){kept}"
        )
