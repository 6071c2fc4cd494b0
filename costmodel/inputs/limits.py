"""When a system counts as answering, what it promised, and what a failure costs its user."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from costmodel.fields import Share
from costmodel.frozen import Frozen

"""US dollars that one failed request costs its user; 0 means that nobody said."""


class Limits(Frozen):
    """What may fail before a system no longer answers; a bill above a limit is no saving."""

    most_refused: Share = 0.001
    """Share of the requests that nobody answers."""
    most_degraded: Share = 0.01
    """Share of the escalations that the teacher does not answer: degraded answers and errors."""
    most_late: Share = 0.01
    """Share of the requests that are answered after their deadline: 0.01 is a p99."""


class Promise(Frozen):
    """How often answers equal the teacher's. `strict`: only those that the student gives."""

    agreement: Annotated[float, Field(gt=0, le=1)] = 0.97
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    promise: Literal["system", "strict"] = "system"
