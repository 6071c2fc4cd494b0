"""Labelling waits as long as answers take, not as long as a request in service may."""

import asyncio

import pytest

from students.errors import TeacherRejected, TeacherTimeout
from students.label.patience import FIRST_S, MOST_S, Patience


class Clock:
    """Seconds that go by when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """Now, in seconds."""
        return self.now


async def _after(clock, seconds, answer="yes"):
    clock.now += seconds
    return answer


async def test_it_follows_what_answers_take():
    """A minute at first, then eight times the slowest recent call, never below the task's own."""
    clock = Clock()
    patience = Patience(3.0, clock)
    assert patience.limit_s == FIRST_S
    assert await patience.wait(asyncio.ensure_future(_after(clock, 2.0))) == "yes"
    assert patience.limit_s == 16.0
    for _ in range(50):
        await patience.wait(asyncio.ensure_future(_after(clock, 0.1)))
    assert patience.limit_s == 3.0
    assert Patience(900.0, clock).limit_s == Patience(900.0, clock).most_s == 900.0


async def test_a_late_call_is_cancelled_and_more_patience_is_had_with_the_next(monkeypatch):
    """Where nothing is answered the limit doubles up to ten minutes; an answer ends that."""
    monkeypatch.setattr("students.label.patience._LOOK_S", 0.001)
    clock = Clock()
    patience = Patience(3.0, clock)
    for limit in (60, 120, 240, 480, 600, 600):
        call = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(patience.wait(call))
        await asyncio.sleep(0)
        clock.now += limit
        with pytest.raises(TeacherTimeout, match=f"within {limit} s"):
            await waiting
        assert call.cancelled()
    assert patience.limit_s == MOST_S
    await patience.wait(asyncio.ensure_future(_after(clock, 1.0)))
    assert patience.limit_s == 8.0


async def test_what_a_call_raises_passes_and_a_cancelled_wait_cancels_it():
    """Errors are the teacher's; an interrupted run leaves no call behind."""
    patience = Patience(3.0, Clock())
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(TeacherRejected("no"))
    with pytest.raises(TeacherRejected):
        await patience.wait(failed)
    call = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(patience.wait(call))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.cancelled()
