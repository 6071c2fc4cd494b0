"""What a fake teacher can be told to be: how slow, how wrong, how broken, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from costmodel.fields import Share
from costmodel.frozen import Frozen

Rate = Share
Window = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class Knobs(Frozen):
    """Everything about the fake teacher that can change while it runs.

    Rates are shares of requests. Windows are (from, to) in seconds since the start or the last
    `POST /control/reset`. What concerns an answer depends on its text and the seed alone; what
    concerns one request (latency, faults, unsteadiness) is drawn in order from the seed.
    """

    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    """The words it answers with, in class order."""
    keywords: Mapping[str, tuple[str, ...]] = {}
    """Label → words that decide for it, for texts without a reference."""
    user: str = "{text}"
    """Chat: the template around the text, so that the text can be found in the message."""
    seed: int = 0
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    """Median of a lognormal."""
    latency_sigma: Annotated[float, Field(ge=0)] = 0.0
    """Its shape: p99 = median · exp(2.33 · sigma)."""
    wrong_rate: Rate = 0.0
    """Share of texts that always get another label than their reference."""
    unsteady_rate: Rate = 0.0
    """Share of requests answered with a label drawn afresh: the teacher disagrees with itself."""
    rate_limit_rps: Annotated[float, Field(gt=0)] | None = None
    """Above this a 429 with Retry-After; bursts of one second's worth pass."""
    throttle_rate: Rate = 0.0
    throttle_windows: tuple[Window, ...] = ()
    error_rate: Rate = 0.0
    """Share answered 500."""
    outages: tuple[Window, ...] = ()
    outage_kind: Literal["refuse", "hang", "reset"] = "refuse"
    """In an outage: 503, never an answer, or the connection cut."""
    garbage_rate: Rate = 0.0
    """Share answered 200 with something that is no JSON."""
    batch_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds from the making of a batch to its end."""
    batch_line_error_rate: Rate = 0.0
    """Share of a batch's lines that end in its error file, 500."""
    batch_expired_rate: Rate = 0.0
    """Share of its lines that are not reached in time; with any, the batch expires."""
    batch_refused: bool = False
    """Whether batches fail as a whole, before anything is answered."""
    truncated_rate: Rate = 0.0
    """Share whose reply breaks off in the middle."""
    keys_kept: Annotated[int, Field(ge=0)] = 10_000
    """Idempotency keys that it remembers; with 0 it does not look at them, as most teachers."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = [label for label in self.keywords if label not in self.labels]
        if unknown:
            raise ValueError(f"keywords for {unknown}, which are not among {list(self.labels)}")
        for start, end in (*self.throttle_windows, *self.outages):
            if end <= start:
                raise ValueError(f"the window ({start:g}, {end:g}) ends before it begins")
        if self.user.count("{text}") != 1:
            raise ValueError("user: {text} must occur once")
        return self
