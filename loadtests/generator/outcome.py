"""From a reply to what is counted of it: valid or not, who answered, why, at what cost."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from loadtests.generator.reply import HttpReply
from loadtests.generator.tallies import UNROUTED, RequestOutcome
from loadtests.inputs.spec import Surface
from loadtests.inputs.surface import BATCH_TEXTS, decimal_of, events_of, label_of, spoken

_STAGE = re.compile(rb"([^\s,;]+)\s*;[^,]*?dur=([^\s,;]+)")
"""Of `queue;dur=0.12, forward;desc=student;dur=1.5`."""


def outcome_of(
    surface: Surface,
    reply: HttpReply,
    offset_s: float,
    row_index: int,
    lag_s: float,
    latency_s: float,
    due: float,
) -> RequestOutcome:
    """Read one reply; a 200 without a label in its place is `garbled`."""
    label, failure = None, None
    if reply.status != 200:
        failure = f"http_{reply.status}"
    else:
        label = label_of(surface, reply.body, BATCH_TEXTS if surface == "batch" else 1)
        if label is None:
            failure = "garbled"
    head = reply.head
    said = _said_at(reply) if reply.reads and failure is None else []
    return RequestOutcome(
        offset_s,
        row_index,
        lag_s,
        latency_s,
        reply.status,
        failure,
        _text(head.get(b"x-raisehand-route", b"")) or UNROUTED,
        _text(head.get(b"x-raisehand-reason", b"")),
        label,
        _number(head.get(b"x-raisehand-confidence")),
        _amount(head.get(b"x-raisehand-cost-usd")),
        _stages(head),
        said[0] - due if said else None,
        tuple(b - a for a, b in itertools.pairwise(said)),
        len(reply.body),
    )


def _number(written: bytes | None) -> float | None:
    try:
        value = float(written) if written else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@lru_cache(maxsize=1024)
def _text(written: bytes) -> str:
    """Routes and reasons are few: each is made a string once."""
    return written.decode("latin-1")


@lru_cache(maxsize=4096)
def _amount(written: bytes | None) -> Decimal | None:
    """Prices of a kind are few, and a decimal takes long to make."""
    return decimal_of(written.decode("latin-1")) if written else None


def _stages(head: Mapping[bytes, bytes]) -> tuple[tuple[str, float], ...]:
    """Read `queue;dur=0.12, forward;dur=1.5` (milliseconds) as seconds by stage."""
    stages = []
    for name, written in _STAGE.findall(head.get(b"server-timing", b"")):
        duration = _number(written)
        if duration is not None:
            stages.append((_text(name), duration / 1000))
    return tuple(stages)


def _said_at(reply: HttpReply) -> list[float]:
    """Return the instants at which each word of a stream had arrived."""
    instants = []
    reads = iter(reply.reads)
    instant, received = next(reads)
    for end, data in events_of(reply.body):
        while received < end:
            instant, received = next(reads)
        if spoken(data):
            instants.append(instant)
    return instants
