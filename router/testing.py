"""Shipped fakes for tests against the router: a clock to turn, an entry to change."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec

from router.ledger import Entry
from router.policy import Reason, Route


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
