"""From a reply to what is counted of it: valid or not, who answered, why, at what cost."""

from __future__ import annotations

import itertools
import math

from loadtests.generator.connection import HttpReply
from loadtests.generator.tallies import UNROUTED, RequestOutcome
from loadtests.inputs.spec import Surface
from loadtests.inputs.surface import decimal_of, label_of, spoken


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
        label = label_of(surface, reply.body)
        if label is None:
            failure = "garbled"
    said = _said_at(reply) if reply.reads and failure is None else []
    return RequestOutcome(
        offset_s,
        row_index,
        lag_s,
        latency_s,
        reply.status,
        failure,
        reply.header("x-raisehand-route") or UNROUTED,
        reply.header("x-raisehand-reason"),
        label,
        _number(reply.header("x-raisehand-confidence")),
        decimal_of(reply.header("x-raisehand-cost-usd")),
        _stages(reply.header("server-timing")),
        said[0] - due if said else None,
        tuple(b - a for a, b in itertools.pairwise(said)),
        len(reply.body),
    )


def _number(written: str) -> float | None:
    try:
        value = float(written) if written else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _stages(header: str) -> tuple[tuple[str, float], ...]:
    """Read `queue;dur=0.12, forward;dur=1.5` (milliseconds) as seconds by stage."""
    stages = []
    for metric in header.split(",") if header else ():
        name, _, parameters = metric.strip().partition(";")
        duration = _number(parameters.partition("dur=")[2].partition(";")[0])
        if duration is not None:
            stages.append((name, duration / 1000))
    return tuple(stages)


def _said_at(reply: HttpReply) -> list[float]:
    """Return the instants at which each word of a stream had arrived."""
    instants, end = [], 0
    reads = iter(reply.reads)
    instant, received = next(reads)
    for event in reply.body.split(b"\n\n")[:-1]:
        end += len(event) + 2
        while received < end:
            instant, received = next(reads)
        if spoken(event):
            instants.append(instant)
    return instants
