"""A load test as one Locust process sees it: a parent's, its own, a worker's or a master's."""

from __future__ import annotations

import time
from typing import Any, Protocol, cast

from loadtests.generator.session import Session
from loadtests.inputs.spec import LoadSpec


class LoadRun(Protocol):
    """What users and shapes need to know of the test that is on."""

    spec: LoadSpec
    session: Session
    settle_s: float
    """Seconds that Locust has to bring its own files up to date, after the test is over."""

    @property
    def users(self) -> int:
        """How many users there are, all processes together."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and answered."""
        ...

    @staticmethod
    def of(environment: Any) -> LoadRun:
        """Return the test that an environment runs."""
        return cast("LoadRun", environment.open_loop_run)


def users_wanted(environment: Any) -> int:
    """Return how many users the next test has: as many as requests may be in flight."""
    spec, _ = environment.open_loop_schedule
    workers = getattr(environment.runner, "worker_count", 1)
    return int(spec.concurrency * max(1, workers))


def is_answered(session: Session) -> bool:
    """Whether everything was sent and answered, or waited for long enough."""
    if not session.walked or session.started_at is None:
        return False
    spec = session.spec
    late = session.started_at + spec.duration_s + spec.timeout_s + DRAIN_S
    return session.flying == 0 or time.monotonic() > late


SETTLE_S = 1.5
"""Locust writes its CSV once a second, and not at the end."""
DRAIN_S = 10.0
"""Every request ends at its time-out; a starved machine may need longer to notice."""
