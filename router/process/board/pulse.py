"""What one worker says of itself every other second: counts as they stand, no sums over time.

Plain numbers, read where they are kept: a page that somebody looks at must cost the requests
nothing that they would notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.service.service import Service
from router.telemetry.counters import TallyReading


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """One worker now."""

    draining: bool
    ledger_dropped: int
    ledger_backlog_s: float
    """Age of the oldest row that is not stored yet."""
    tally: TallyReading
    """Requests and latencies since the worker was started."""
    tasks: dict[str, dict[str, Any]]
    """What `GET /state` says of each task."""


def pulse_of(service: Service, tasks: Mapping[str, dict[str, Any]]) -> Pulse:
    """Read a service; `tasks` is what each is doing."""
    return Pulse(
        draining=service.draining,
        ledger_dropped=service.ledger.dropped,
        ledger_backlog_s=service.ledger.backlog.oldest_s,
        tally=service.metrics.tally.read(),
        tasks=dict(tasks),
    )
