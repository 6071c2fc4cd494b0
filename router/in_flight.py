"""Work that somebody pays for does not end unseen: it is awaited, then cancelled, and so booked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class InFlight:
    """The tasks that run now."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count the task that runs this, which somebody else has started."""
        task = asyncio.current_task()
        assert task is not None, "whoever awaits is a task"
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def close(self, timeout_s: float) -> None:
        """Wait for what runs; cancel what has not finished in time, and wait for that, too."""
        running = self._tasks - {asyncio.current_task()}
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def on_a_thread(work: Callable[..., T], *words: object) -> T:
    """Run it on a thread, and cancelled, end with that: it goes on in any case."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *words))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
