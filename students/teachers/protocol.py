"""What every teacher is: texts in, soft labels and their bill out."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from costmodel.money.pricing import TokenUsage
from students.labels import LabelDistribution, LabelSchema

ASKED_BEFORE: ContextVar[int] = ContextVar("asked_before", default=0)
"""How often this question was asked before on purpose: a second answer must be another one."""
PROBE = "Is this a test?"
"""The text that `check` asks about."""
READING = 2
"""Number of the rules that free answers are read by: read otherwise, it is another teacher."""


@dataclass(frozen=True, slots=True)
class TeacherDescriptor:
    """All that, if changed, makes it another teacher: part of cache keys and certificates."""

    mode: str
    model: str
    revision: str
    prompt_sha256: str
    parameters: str
    """Canonical JSON of the sampling and logprob parameters."""


@dataclass(frozen=True, slots=True)
class TeacherReply:
    """One answer: distribution, consumption, the words it used and the raw reply (JSON).

    `fault` says, for people, why an unusable answer names no label, and what to do about it.
    `estimated`: the teacher did not say what it consumed, so that `usage` is an estimate.
    """

    distribution: LabelDistribution
    usage: TokenUsage
    wording: str
    raw: str
    fault: str = ""
    estimated: bool = False


class Teacher(Protocol):
    """A big model behind a network, asked about one or more texts."""

    schema: LabelSchema
    descriptor: TeacherDescriptor

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Answer each text, in order: len(result) == len(texts).

        No retries here: the caller owns the only retry loop.

        Raises:
            TeacherUnavailable, TeacherThrottled, TeacherRejected, TeacherGarbled.
        """
        ...

    async def check(self, *, timeout_s: float | None = None) -> None:
        """Prove the contract against the real server: reachable, model known, an answer usable.

        Raises:
            TeacherError: with one sentence saying what to do.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection pool."""
        ...
