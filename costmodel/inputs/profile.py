"""What a student costs in time and how sure it is.

Distillation writes it, the simulator reads it.
"""

from __future__ import annotations

from costmodel.frozen import Frozen


class RiskCoveragePoint(Frozen):
    """At this threshold: share of traffic kept, and share of the kept that disagrees."""

    threshold: float
    coverage: float
    risk: float


class StudentProfile(Frozen):
    """Measured on this machine: seconds = fixed_s + per_token_s * tokens of a batch."""

    fixed_s: float
    per_token_s: float
    mean_tokens: float
    texts_per_s: float
    """Throughput of one core with full batches."""
    risk_coverage: tuple[RiskCoveragePoint, ...]
    machine: str
