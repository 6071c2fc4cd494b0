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
