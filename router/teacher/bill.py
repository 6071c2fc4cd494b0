"""What one request consumed at the teacher, and how each attempt ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from costmodel.money.pricing import NO_USAGE, TokenUsage


class Outcome(StrEnum):
    """How one attempt ended; the metric label of `raisehand_teacher_attempts_total`."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    GARBLED = "garbled"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Bill:
    """What one request consumed at the teacher so far, whichever way it ends.

    Given to `ask`, it is up to date even when the call is cancelled, which raises past every
    return value. `estimated`: the teacher did not say what an attempt used (lost after it was sent,
    or answered without a count), so that what a normal answer uses is billed.
    """

    attempts: int = 0
    usage: TokenUsage = NO_USAGE
    estimated: bool = False
    asked: str = ""
    """The model that was asked for; empty: the task's."""
    model: str = ""
    """The model that answered, as the answer says; empty when it does not."""
