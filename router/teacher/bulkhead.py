"""At most so many teacher calls at once: a teacher in trouble cannot take the router with it."""

from __future__ import annotations

import asyncio
from bisect import insort
from itertools import count

_Waiter = tuple[int, int, asyncio.Future[None]]


class Bulkhead:
    """Slots with a bounded, short queue in order of priority (lower first), then of arrival.

    Unlike `asyncio.Semaphore` it has a limit that may change while calls run, a bound on waiters
    (by default as many as there are slots) and a way in that never waits.
    """

    def __init__(self, limit: int, *, max_waiting: int | None = None) -> None:
        self._limit = limit
        self._max_waiting = max_waiting
        self.inflight = 0
        self._waiting: list[_Waiter] = []
        self._order = count()

    @property
    def limit(self) -> int:
        """Slots there are."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = max(1, limit)
        self._admit()

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        return len(self._waiting)

    async def acquire(self, max_wait_s: float = 0.0, priority: int = 0) -> bool:
        """Take a slot; False when none came free within `max_wait_s`."""
        if self.inflight < self._limit:
            self.inflight += 1
            return True
        bound = self._limit if self._max_waiting is None else self._max_waiting
        if max_wait_s <= 0 or self.waiting >= bound:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (priority, next(self._order), future)
        insort(self._waiting, waiter)
        try:
            async with asyncio.timeout(max_wait_s):
                await future
        except TimeoutError:
            return self._left(waiter)
        except asyncio.CancelledError:
            if self._left(waiter):
                self.release()
            raise
        return True

    def release(self) -> None:
        """Give a slot back."""
        self.inflight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.inflight < self._limit:
            future = self._waiting.pop(0)[2]
            if not future.done():
                self.inflight += 1
                future.set_result(None)

    def _left(self, waiter: _Waiter) -> bool:
        """Stop waiting; True when a slot was handed over in that very tick."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        future = waiter[2]
        return future.done() and not future.cancelled()
