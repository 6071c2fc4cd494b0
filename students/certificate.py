"""The certificate: the statement that was proved about one artefact, and nothing more.

The arithmetic that produces it is in `students.distill.certify`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Certificate(BaseModel):
    """One certified threshold, with every number that the statement rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promise: Literal["system", "strict"]
    agreement: float
    """Promised agreement, 1 - alpha."""
    confidence: float
    """1 - delta."""
    thresholds: tuple[float, ...]
    """Per predicted class, shape (K,): the student answers when confidence >= its class's one."""
    n_calibration: int
    n_accepted: int
    disagreements: int
    """Among the accepted calibration rows."""
    agreement_lower_bound: float
    """One-sided exact bound at `confidence` on the promised agreement."""
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
            f"{self.n_calibration:,} calibration rows: {scope} {allowed:.1%} differ from what the "
            f"teacher {self.teacher_model} (revision {self.teacher_revision}), asked once, would "
            f"answer. Observed: {self.disagreements} disagreements in {self.n_accepted:,} answers "
            f"kept; agreement is at least {self.agreement_lower_bound:.4f}. It says nothing about "
            "truth, about any single class or customer, or about traffic that changes."
        )


class Refusal(BaseModel):
    """Why nothing was certified, and what would help. A description, not a proof."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promise: Literal["system", "strict"]
    agreement: float
    confidence: float
    n_calibration: int
    raw_disagreement: float
    """Share of the calibration rows on which the student, answering everything, disagrees."""
    minimum_escalation: float
    """Share that must escalate even with a perfect ranking of the rows."""
    best_agreement: float
    """Highest agreement that these rows support at one threshold."""
    best_coverage: float
    """Share of the rows kept at that threshold."""
    rows_needed: int | None
    """Calibration rows that would probably certify; None where more rows would not help."""

    @property
    def statement(self) -> str:
        """One sentence for people: what was asked, the feasible best, what to do."""
        scope = "over all traffic" if self.promise == "system" else "of the answers kept"
        advice = (
            f"label about {self.rows_needed:,} calibration rows"
            if self.rows_needed
            else "more calibration rows would not help: train a better student"
        )
        return (
            f"cannot certify {self.agreement:.1%} agreement {scope} at {self.confidence:.0%} "
            f"confidence from {self.n_calibration:,} calibration rows; the best they support is "
            f"{self.best_agreement:.1%} at {self.best_coverage:.1%} coverage, and at least "
            f"{self.minimum_escalation:.1%} of the traffic would have to escalate however well the "
            f"student ranks it; {advice}, or promise less"
        )
