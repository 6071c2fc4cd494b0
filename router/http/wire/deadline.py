"""By when something must have happened: a timer that is moved only when it would fire too late."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Deadline:
    """Calls back once, when the time set last is over.

    To move a timer costs as much as to parse a head; a deadline that moves with every request is
    therefore only noted, and looked at when the timer fires.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = self._at = math.inf
        self._over = False

    def set(self, seconds: float) -> None:
        """Wait for so long from now on."""
        self._at = self._loop.time() + seconds
        if self._at < self._fires_at and not self._over:
            if self._timer is not None:
                self._timer.cancel()
            self._start()

    def cancel(self) -> None:
        """Never call back, whatever is set from now on."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, math.inf
        if self._loop.time() < self._at:
            self._start()
        else:
            self._passed()
