"""What everybody who asks one teacher knows of it: does it take calls, and until when not."""

from __future__ import annotations

from collections.abc import Callable

from router.clock import Clock
from router.teacher.bill import Outcome
from router.teacher.throttle import AdaptiveThrottle

MAX_RETRY_AFTER_S = 60.0
"""A Retry-After is obeyed up to here, so that one absurd header cannot close the door for a day."""
AttemptObserver = Callable[[Outcome, float], None]
"""Told of every attempt: how it ended and how many seconds it took."""


class TeacherHealth:
    """Learns from every attempt, whoever made it; what it knows holds for all.

    Args:
        throttle: draws which calls must not be sent.
        observe: told of every attempt (metrics).
    """

    def __init__(
        self, throttle: AdaptiveThrottle, clock: Clock, observe: AttemptObserver | None = None
    ) -> None:
        self.throttle = throttle
        self._clock = clock
        self._observe = observe
        self._closed_until = 0.0

    @property
    def closed_s(self) -> float:
        """Seconds until the teacher may be asked again, as it said itself; 0 or less: now."""
        return self._closed_until - self._clock()

    def close_door(self, retry_after_s: float | None) -> None:
        """Obey a Retry-After for everybody, not only for the call that was told."""
        if retry_after_s is not None:
            closed_s = min(retry_after_s, MAX_RETRY_AFTER_S)
            self._closed_until = max(self._closed_until, self._clock() + closed_s)

    def record(self, outcome: Outcome, seconds: float, *, proves: bool = True) -> None:
        """Learn from one attempt; one that `proves` nothing of the teacher is only observed."""
        if proves and outcome is not Outcome.CANCELLED:
            self.throttle.record(accepted=outcome in (Outcome.OK, Outcome.REJECTED))
        if self._observe is not None:
            self._observe(outcome, seconds)
