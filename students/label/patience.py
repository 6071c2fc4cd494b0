"""How long labelling waits for an answer: as answers take, not as a request in service may take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from costmodel.units import DAY_S
from students.errors import TeacherTimeout
from students.sections import TeacherSection

FIRST_S = 60.0
"""Before anything is known of the teacher; reasoning models and full queues take that long."""
MOST_S = 600.0
_TIMES = 8.0
"""As many times the slowest of the recent calls is late: a queue may grow, a lost call stays."""
DEFERRED_S = 14 * DAY_S
"""A batch ends by itself within a day; several may follow one another."""
DEFERRED_LOOK_S = 600.0
_REMEMBERED = 50
_LOOK_S = 1.0
"""Seconds after which a call in flight hears of what others took."""

T = TypeVar("T")


class Patience:
    """A time limit that follows the calls: eight times the slowest of the last fifty.

    It is never below `least_s`, the task's own time limit, and doubles with every call that was
    late while nothing was answered.
    """

    def __init__(self, least_s: float, clock: Callable[[], float], look_s: float = _LOOK_S) -> None:
        self._look_s = look_s
        self.most_s = max(MOST_S, least_s)
        self._least_s = least_s
        self._clock = clock
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._stretch = 1.0

    @property
    def limit_s(self) -> float:
        """Seconds that a call may take now."""
        expected = _TIMES * max(self._took) if self._took else FIRST_S
        return min(max(self._least_s, expected) * self._stretch, self.most_s)

    async def wait(self, call: asyncio.Future[T]) -> T:
        """Return what a call returns; one that is late is cancelled.

        Raises:
            TeacherTimeout: it is late. Whatever else the call raises passes.
        """
        started = self._clock()
        try:
            while not call.done():
                limit_s = self.limit_s
                left = limit_s - (self._clock() - started)
                if left <= 0:
                    self._stretch = min(2 * self._stretch, self.most_s)
                    raise TeacherTimeout(f"the teacher did not answer within {limit_s:g} s")
                await asyncio.wait([call], timeout=min(left, self._look_s))
            answer = call.result()
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait([call])
        self._took.append(self._clock() - started)
        self._stretch = 1.0
        return answer


def patience_of(section: TeacherSection, clock: Callable[[], float]) -> Patience:
    """Return the patience with a teacher: days with one that answers by batches."""
    if section.batch:
        return Patience(DEFERRED_S, clock, DEFERRED_LOOK_S)
    return Patience(section.timeout_s, clock)
