"""How far the inputs of a projection may be off that no evaluation counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from costmodel.frozen import Frozen

Relative = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]


class Range(Frozen):
    """A factor on a price: triangular, most likely 1."""

    low: Annotated[float, Field(gt=0, le=1)] = 1.0
    high: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0


class Doubt(Frozen):
    """How far the inputs may be off that no evaluation counts. All relative; 0 means exact."""

    traffic: Relative = 0.10
    """Standard deviation of the month's traffic."""
    lengths: Relative = 0.05
    """Of the teacher's tokens per request: tokenizers, templates, what users write next month."""
    escalated_factor: Relative = 0.10
    escalation_drift: Relative = 0.0
    """Of the escalation rate, on top of its sampling error: next month is not the test set."""
    teacher_price: Range = Range()
    student_price: Range = Range()
