"""T12: whatever happens around a batch, whoever waits is told exactly once."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import ClientGone, DeadlinePassed, Overloaded, Unavailable
from router.student.batcher import Batcher, Scored
from router.testing import ManualClock
from students.labels import LabelSchema, Prediction
from tests.waiting import PATIENCE_S

PREDICTIONS = {"good": "answer", "bad": RuntimeError("x"), "worse": SystemExit(1)}
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([*PREDICTIONS, "short"])),
        st.tuples(st.just("ask urgently"), st.sampled_from([*PREDICTIONS, "short"])),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("give up"), st.integers(0, 30)),
        st.tuples(st.just("time passes"), st.floats(0, 2)),
        st.tuples(st.just("let go"), st.integers(1, 3)),
        st.tuples(st.just("breathe"), st.none()),
    ),
    max_size=60,
)


class Waiter:
    """Counts what it is told."""

    def __init__(self):
        self.told = []
        self.gave_up = False
        self.disconnected = False

    def done(self):
        """Whether it needs nothing any more."""
        return self.gave_up or bool(self.told)

    def set_result(self, scored, /):
        """Take a score."""
        self.told.append(scored)

    def set_exception(self, refusal, /):
        """Take a refusal."""
        self.told.append(refusal)


class Moody:
    """A student that does what its texts say; in its thread it holds a batch until it is let go."""

    schema = LabelSchema(("a", "b"))

    def __init__(self, in_place_tokens):
        self.in_place_tokens = in_place_tokens
        self.permits = threading.Semaphore(0)

    def predict(self, texts):
        """Answer, raise, or lose an answer."""
        if threading.current_thread() is not threading.main_thread():
            self.permits.acquire(timeout=PATIENCE_S)
        for text in texts:
            if isinstance(PREDICTIONS.get(text), BaseException):
                raise PREDICTIONS[text]
        p = np.array([1, 0], np.float32)
        answers = [Prediction(0, 1.0, p) for _ in texts]
        return answers[:-1] if "short" in texts else answers

    def token_count(self, text):
        """One token a text."""
        return 1


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from([1, 3, 256]), st.sampled_from([0, 2]), st.booleans())
def test_everybody_is_told_exactly_once(events, max_batch_texts, in_place_tokens, hangs):
    """Students that raise, exit, lose answers or hang; clients that leave; deadlines; a close."""
    asyncio.run(_live(events, max_batch_texts, in_place_tokens, hangs))


async def _live(events, max_batch_texts, in_place_tokens, hangs):
    student, clock, waiters = Moody(in_place_tokens), ManualClock(), []
    batcher = Batcher(student, max_queue=20, max_batch_texts=max_batch_texts, clock=clock)
    batcher.start()
    for event, detail in events:
        if event.startswith("ask"):
            waiter = Waiter()
            deadline = clock.now + (0.5 if "urgently" in event else 1_000)
            try:
                batcher.put(detail, waiter, deadline, waiter)
                waiters.append(waiter)
            except Overloaded:
                pass
        elif event == "leave" and detail < len(waiters):
            waiters[detail].disconnected = True
        elif event == "give up" and detail < len(waiters) and not waiters[detail].told:
            waiters[detail].gave_up = True
        elif event == "time passes":
            clock.now += detail
        elif event == "let go":
            student.permits.release(detail)
            await asyncio.sleep(0.001)
        else:
            await asyncio.sleep(0)
    if not hangs:
        student.permits.release(1_000)
    await batcher.close(timeout_s=0.02 if hangs else 10)
    student.permits.release(1_000)  # a batch that was given up ends after all, and tells nobody
    await asyncio.sleep(0.002)
    for waiter in waiters:
        assert len(waiter.told) <= 1
        assert waiter.told or waiter.gave_up
        assert all(
            isinstance(told, (Scored, ClientGone, DeadlinePassed, Unavailable))
            for told in waiter.told
        )
