"""One request in the pipeline's terms: what is asked, what is answered, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import msgspec

from costmodel.money.pricing import NO_USAGE, TokenUsage
from router.clock import Client
from router.policy import Reason, Route
from router.student.batcher import Scored
from router.student.loaded import Model
from router.teacher.bill import Bill
from students.labels import FloatArray, LabelDistribution
from students.teachers.protocol import TeacherReply

FREE = Bill()
"""The bill of a request that never went to the teacher; nobody adds to it."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One text to answer, by `deadline` (a moment on the pipeline's monotonic clock)."""

    text: str
    request_id: str
    surface: str
    deadline: float = math.inf
    threshold: float | None = None
    """Raise the hand below this confidence, even where the certificate would not."""
    student_only: bool = False
    """Never raise it: the student answers however sure it is, and nobody audits that."""
    client: Client | None = None
    key: str = ""
    """Name of the API key that asks, never the key."""
    priority: int = 0
    may_escalate: Callable[[], bool] | None = None
    """Counts one call to the teacher against the key's own limit; None: it has none."""
    traceparent: str = ""
    """Of the trace that this request is a part of; what the teacher is asked for it carries it."""
    received_at: float | None = None
    """When it could first be read, on the pipeline's clock; None: now. Latency counts from here."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Who answered what, why, how sure, and what it cost (None: a price is unknown)."""

    label: int
    route: Route
    reason: Reason
    model: Model
    confidence: float | None
    """The student's, also where the teacher answered; None when it had none."""
    probabilities: FloatArray | tuple[float, ...]
    """Shape (K,), of whoever answered."""
    usd: Decimal | None
    queue_s: float
    forward_s: float
    teacher_s: float = 0.0
    wording: str | None = None
    """The teacher's own words, where it answered, also where they are no label of the task."""
    usage: TokenUsage = NO_USAGE
    """What the teacher consumed for it."""
    answered_as: str = ""
    """The model that the teacher says it is, where it answered and says so."""


class Run(msgspec.Struct, gc=False):
    """How far one request has come."""

    ask: Ask
    model: Model
    started: float
    scored: Scored | None = None
    bill: Bill = FREE
    asked_at: float = 0.0
    answered_at: float = 0.0
    audited: bool = False
    taught: LabelDistribution | None = None
    """What the teacher said, where it answered."""
    propensity: float = 0.0


class Done(Protocol):
    """Takes the outcome of one request; must not raise."""

    def __call__(self, outcome: Answer | BaseException, /) -> None:
        """Take the answer, or why there is none."""
        ...


def by_student(
    run: Run,
    scored: Scored,
    route: Route,
    reason: Reason,
    usd: Decimal | None,
    teacher_s: float = 0.0,
    words: str | None = None,
) -> Answer:
    """Word the student's answer; `words` are the teacher's own where they were no label."""
    prediction = scored.prediction
    assert prediction is not None
    return Answer(  # in the order of its fields: by name it takes 1 µs longer
        prediction.label,
        route,
        reason,
        run.model,
        scored.confidence,
        prediction.probabilities,
        usd,
        scored.queue_s,
        scored.forward_s,
        teacher_s,
        words,
        run.bill.usage,
        "" if words is None else run.bill.model,
    )


def by_teacher(
    run: Run,
    scored: Scored,
    reason: Reason,
    reply: TeacherReply,
    usd: Decimal | None,
    teacher_s: float,
) -> Answer:
    """Word the teacher's answer, in its own words."""
    return Answer(
        label=reply.distribution.argmax,
        route=Route.TEACHER,
        reason=reason,
        model=run.model,
        confidence=scored.confidence,
        probabilities=reply.distribution.probabilities,
        usd=usd,
        queue_s=scored.queue_s,
        forward_s=scored.forward_s,
        teacher_s=teacher_s,
        wording=reply.wording,
        usage=run.bill.usage,
        answered_as=run.bill.model,
    )
