"""Shipped fakes for tests against the router: a clock to turn, a teacher that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from costmodel.pricing import TokenUsage
from router.ledger import Entry
from router.policy import Reason, Route
from students.labels import LabelDistribution, LabelSchema
from students.teachers.protocol import TeacherDescriptor, TeacherReply


class ManualClock:
    """A monotonic clock that moves only when told; `sleep` moves it instead of waiting."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the moment, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let others run, and be `seconds` later."""
        self.now += seconds
        await asyncio.sleep(0)


class FaultyTeacher:
    """A teacher in this process that acts out a script, one act a call; the last act repeats.

    An act is an exception to raise, a number of seconds to take before answering, or None to
    answer at once. It answers label 0 and bills one token a word plus one for the answer.
    """

    def __init__(
        self,
        acts: Iterable[Exception | float | None] = (None,),
        schema: LabelSchema | None = None,
    ) -> None:
        self.schema = schema or LabelSchema.of(["urgent", "not urgent"])
        self.descriptor = TeacherDescriptor("classify", "faulty", "1", "", "{}")
        self.acts = list(acts)
        self.asked: list[str] = []

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Act out the next act of the script."""
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        self.asked.extend(texts)
        if isinstance(act, Exception):
            raise act
        if act is not None:
            await asyncio.sleep(act)
        distribution = LabelDistribution.hard(0, len(self.schema))
        return [
            TeacherReply(distribution, usage_in_words(text), self.schema.names[0], "{}")
            for text in texts
        ]

    async def check(self) -> None:
        """Nothing to prove."""

    async def aclose(self) -> None:
        """Nothing is open."""


def usage_in_words(text: str) -> TokenUsage:
    """The fakes' tokenizer: one token a word, and one for the answer."""
    return TokenUsage(len(text.split()), 1)


def sample_entry(**changes: Any) -> Entry:
    """A kept answer of a student at 12.403 nano-dollars, with the given fields changed."""
    entry = Entry(
        at=1_764_000_000.25,
        request_id="r-1",
        task="urgent",
        bundle="0123456789ab",
        surface="classify",
        route=Route.STUDENT,
        reason=Reason.CONFIDENT,
        label="urgent",
        confidence=0.98,
        student_usd=Decimal("0.000000012403"),
        teacher_usd=Decimal(0),
        input_tokens=0,
        output_tokens=0,
        attempts=0,
        latency_ms=1.25,
        degraded=False,
        audited=False,
        propensity=0.01,
        text_sha256="00" * 32,
    )
    return msgspec.structs.replace(entry, **changes)
