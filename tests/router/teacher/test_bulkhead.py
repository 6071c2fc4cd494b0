"""At most so many teacher calls at once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.teacher.bulkhead import Bulkhead


async def test_full_refuses_at_once():
    """Slot n is given, slot n + 1 is not, and no waiting happens unless asked for."""
    bulkhead = Bulkhead(2)
    assert [await bulkhead.acquire() for _ in range(3)] == [True, True, False]


async def test_waiter_gets_the_slot_that_comes_free():
    """A caller that may wait takes the place of the one that leaves."""
    bulkhead = Bulkhead(1)
    await bulkhead.acquire()
    waiting = asyncio.create_task(bulkhead.acquire(1.0))
    await asyncio.sleep(0)
    bulkhead.release()
    assert await waiting
    assert bulkhead.inflight == 1


async def test_the_urgent_waits_in_front():
    """Lower priority numbers are served first, equal ones in order of arrival."""
    bulkhead = Bulkhead(1, max_waiting=4)
    await bulkhead.acquire()
    order = []

    async def wait(name, priority):
        await bulkhead.acquire(1.0, priority)
        order.append(name)
        bulkhead.release()

    tasks = [
        asyncio.create_task(wait(name, priority))
        for name, priority in [("batch", 2), ("first", 1), ("second", 1), ("urgent", 0)]
    ]
    await asyncio.sleep(0)
    bulkhead.release()
    await asyncio.gather(*tasks)
    assert order == ["urgent", "first", "second", "batch"]


async def test_waiters_are_bounded():
    """No more callers wait than there are slots."""
    bulkhead = Bulkhead(1)
    await bulkhead.acquire()
    first = asyncio.create_task(bulkhead.acquire(0.05))
    await asyncio.sleep(0)
    assert not await bulkhead.acquire(0.05)
    assert not await first
    assert bulkhead.waiting == 0


async def test_a_cancelled_waiter_leaks_nothing():
    """A caller cancelled in the tick in which it got its slot gives it back."""
    bulkhead = Bulkhead(1)
    await bulkhead.acquire()
    waiting = asyncio.create_task(bulkhead.acquire(1.0))
    await asyncio.sleep(0)
    bulkhead.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bulkhead.inflight == 0


async def test_a_raised_limit_admits_waiters():
    """More slots let waiters in at once; fewer slots never throw anybody out."""
    bulkhead = Bulkhead(1)
    await bulkhead.acquire()
    waiting = asyncio.create_task(bulkhead.acquire(1.0))
    await asyncio.sleep(0)
    bulkhead.limit = 2
    assert await waiting
    bulkhead.limit = 1
    assert bulkhead.inflight == 2
    assert not await bulkhead.acquire()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0, 0.004), st.floats(0, 0.004), st.booleans()), max_size=25),
)
def test_never_more_inflight_than_slots_and_none_leaks(limit, calls):
    """Whatever waits, holds and is cancelled, slots are never exceeded and all come back."""

    async def play():
        bulkhead = Bulkhead(limit)
        peak = 0

        async def call(wait_s, hold_s):
            nonlocal peak
            if await bulkhead.acquire(wait_s):
                try:
                    peak = max(peak, bulkhead.inflight)
                    await asyncio.sleep(hold_s)
                finally:
                    bulkhead.release()

        tasks = [asyncio.create_task(call(wait, hold)) for wait, hold, _ in calls]
        await asyncio.sleep(0.001)
        for task, (_, _, cancelled) in zip(tasks, calls, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert peak <= limit
        assert (bulkhead.inflight, bulkhead.waiting) == (0, 0)

    asyncio.run(play())
