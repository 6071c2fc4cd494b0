"""What a student costs in time and how sure it is.

Distillation writes it, the simulator reads it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RiskCoveragePoint(BaseModel):
    """At this threshold: share of traffic kept, and share of the kept that disagrees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    coverage: float
    risk: float


class StudentProfile(BaseModel):
    """Measured on this machine: seconds = fixed_s + per_token_s * tokens of a batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed_s: float
    per_token_s: float
    mean_tokens: float
    texts_per_s: float
    """Throughput of one core with full batches."""
    risk_coverage: tuple[RiskCoveragePoint, ...]
    machine: str
