"""Batches form by themselves, poison fails alone, every future resolves exactly once."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time

import numpy as np
import pytest

from router.errors import ClientGone, DeadlinePassed, Overloaded, Unavailable
from router.student.batcher import Batcher
from students.labels import LabelSchema, Prediction
from students.testing import ScriptedStudent
from tests.waiting import PATIENCE_S

SCHEMA = LabelSchema(("a", "b"))


def scripted(answer="a", **options):
    """A student that always says the same."""
    return ScriptedStudent(SCHEMA, answer, **options)


class Gate:
    """A student that waits inside predict until it is let go."""

    schema = SCHEMA
    in_place_tokens = 0

    def __init__(self):
        self.calls = []
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def predict(self, texts):
        """Say that it was entered, wait, answer."""
        self.calls.append(tuple(texts))
        self.entered.set()
        self.let_go.wait(PATIENCE_S)
        return [Prediction(0, 0.9, np.array([0.9, 0.1], np.float32)) for _ in texts]

    def token_count(self, text):
        """One token a character."""
        return len(text)


class Where(ScriptedStudent):
    """Remembers in which thread it was asked."""

    in_place_tokens = 10

    def __init__(self, answer):
        super().__init__(SCHEMA, answer)
        self.threads = []

    def predict(self, texts):
        """Answer."""
        self.threads.append(threading.current_thread().name)
        return super().predict(texts)


class Client:
    """Somebody who waits."""

    disconnected = False


@pytest.fixture
async def start():
    """Build and start batchers; closed when the test is over."""
    batchers = []

    def build(student, **options):
        batcher = Batcher(student, **options)
        batcher.start()
        batchers.append(batcher)
        return batcher

    yield build
    for batcher in batchers:
        await batcher.close(timeout_s=1)


async def in_forward(batcher, gate, text="first"):
    """Submit a text and return its future once the student holds it."""
    future = batcher.submit(text)
    await asyncio.to_thread(gate.entered.wait, PATIENCE_S)
    return future


async def test_what_arrives_in_one_tick_is_one_batch(start):
    """Texts submitted together are predicted together, in order."""
    student = scripted()
    batcher = start(student)
    await asyncio.gather(*[batcher.submit(t) for t in ("x", "y", "z")])
    assert student.calls == [("x", "y", "z")]


async def test_what_queued_during_a_batch_is_the_next_batch(start):
    """While the student is busy texts gather; then they go at once, without a wait."""
    gate = Gate()
    batcher = start(gate)
    first = await in_forward(batcher, gate)
    rest = [batcher.submit(t) for t in ("x", "y")]
    gate.let_go.set()
    await asyncio.gather(first, *rest)
    assert gate.calls == [("first",), ("x", "y")]


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        ({"max_batch_texts": 4}, [("aa", "bb", "cc", "dd")]),
        ({"max_batch_texts": 3}, [("aa", "bb", "cc"), ("dd",)]),
        ({"max_batch_tokens": 8}, [("aa", "bb", "cc", "dd")]),
        ({"max_batch_tokens": 7}, [("aa", "bb", "cc"), ("dd",)]),
        ({"max_batch_tokens": 1}, [("aa",), ("bb",), ("cc",), ("dd",)]),
    ],
)
async def test_a_batch_keeps_both_budgets(start, limits, batches):
    """A batch ends at its texts or its tokens; one over-long text still gets its turn."""
    gate = Gate()
    gate.let_go.set()
    batcher = start(gate, **limits)
    await asyncio.gather(*[batcher.submit(t) for t in ("aa", "bb", "cc", "dd")])
    assert gate.calls == batches


@pytest.mark.parametrize("poison", [RuntimeError("x"), SystemExit(1), MemoryError()])
async def test_poison_fails_alone(start, poison):
    """One text that breaks the student gets no prediction; its neighbours get theirs."""

    class Picky(Gate):
        def predict(self, texts):
            if "poison" in texts:
                raise poison
            return super().predict(texts)

    student = Picky()
    student.let_go.set()
    batcher = start(student)
    texts = ["x", "poison", "y", "z"]
    scored = await asyncio.gather(*[batcher.submit(t) for t in texts])
    assert [s.prediction is None for s in scored] == [False, True, False, False]
    assert batcher.alive(1.0)


async def test_a_student_that_loses_an_answer_is_not_trusted(start):
    """When the student returns fewer answers than texts, none is taken from that batch."""

    class Forgetful(Gate):
        def predict(self, texts):
            return super().predict(texts)[: 1 if len(texts) == 1 else -1]

    student = Forgetful()
    student.let_go.set()
    batcher = start(student)
    scored = await asyncio.gather(*[batcher.submit(t) for t in ("x", "y", "z")])
    assert all(s.prediction is not None for s in scored)
    assert student.calls[-1] == ("z",)


@pytest.mark.parametrize(("priority", "admitted"), [(0, 20), (1, 18), (5, 10), (9, 2)])
async def test_the_least_urgent_are_refused_first(start, priority, admitted):
    """T5: with the worker busy, priority p gets (10 - p) tenths of the queue of 20."""
    gate = Gate()
    batcher = start(gate, max_queue=20)
    futures = [batcher.submit("in the worker")]
    await asyncio.to_thread(gate.entered.wait, PATIENCE_S)
    for _ in range(admitted):
        futures.append(batcher.submit("x", priority=priority))
    with pytest.raises(Overloaded):
        batcher.submit("x", priority=priority)
    if priority:
        futures.append(batcher.submit("urgent"))
    gate.let_go.set()
    await asyncio.gather(*futures)


@pytest.mark.parametrize(("waiting", "full"), [(3, False), (4, True)])
async def test_the_queue_is_bounded(start, waiting, full):
    """The text after the last place is refused at once, the one on it is not."""
    gate = Gate()
    batcher = start(gate, max_queue=4)
    futures = [await in_forward(batcher, gate)]
    futures += [batcher.submit("x") for _ in range(waiting)]
    assert batcher.depth == waiting
    if full:
        with pytest.raises(Overloaded):
            batcher.submit("y")
    else:
        futures.append(batcher.submit("y"))
    gate.let_go.set()
    await asyncio.gather(*futures)


async def test_clients_that_left_are_dropped_before_the_forward(start):
    """A text whose client hung up while it queued never reaches the student."""
    gate, gone = Gate(), Client()
    batcher = start(gate)
    first = await in_forward(batcher, gate)
    dropped = batcher.submit("gone", client=gone)
    kept = batcher.submit("kept", client=Client())
    gone.disconnected = True
    gate.let_go.set()
    await asyncio.gather(first, kept)
    with pytest.raises(ClientGone):
        await dropped
    assert gate.calls == [("first",), ("kept",)]


async def test_cancelled_requests_are_dropped_before_the_forward(start):
    """A future that was cancelled while it queued never reaches the student."""
    gate = Gate()
    batcher = start(gate)
    first = await in_forward(batcher, gate)
    cancelled, kept = batcher.submit("cancelled"), batcher.submit("kept")
    cancelled.cancel()
    gate.let_go.set()
    await asyncio.gather(first, kept)
    assert gate.calls == [("first",), ("kept",)]


async def test_a_deadline_is_kept_while_the_student_is_busy(start):
    """Queued or being seen, a text fails at its deadline: the batch goes on until it is let go."""
    gate = Gate()
    batcher = start(gate)
    deadline = time.monotonic() + 0.05
    running = batcher.submit("running", deadline=deadline)
    await asyncio.to_thread(gate.entered.wait, PATIENCE_S)
    queued = batcher.submit("queued", deadline=deadline)
    for future in (running, queued):
        with pytest.raises(DeadlinePassed):
            await asyncio.wait_for(future, PATIENCE_S)
    assert time.monotonic() >= deadline
    gate.let_go.set()


async def test_a_hanging_student_is_not_alive(start):
    """Liveness fails when a batch runs longer than the stall limit."""
    gate = Gate()
    batcher = start(gate)
    future = await in_forward(batcher, gate)
    assert batcher.alive(stall_s=5)
    await asyncio.sleep(0.02)
    assert not batcher.alive(stall_s=0.01)
    gate.let_go.set()
    await future


async def test_close_finishes_what_was_accepted(start):
    """Closing answers the queue first; later texts are refused."""
    student = scripted(delay_s=0.01)
    batcher = start(student, max_batch_texts=1)
    futures = [batcher.submit(str(i)) for i in range(5)]
    await batcher.close()
    assert all(future.result().prediction is not None for future in futures)
    with pytest.raises(Unavailable):
        batcher.submit("late")


async def test_close_resolves_everything_although_the_student_hangs(start):
    """When the student does not come back in time, its texts fail; no future is left hanging."""
    gate = Gate()
    batcher = start(gate)
    futures = [await in_forward(batcher, gate), batcher.submit("queued")]
    await batcher.close(timeout_s=0.01)
    for future in futures:
        with pytest.raises(Unavailable):
            await future
    gate.let_go.set()


@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.e2e)])
async def test_answers_belong_to_their_questions(start, n):
    """T14: over n texts in random batches, with poison and early leavers, none is mixed up."""

    class Echo:
        schema = SCHEMA
        in_place_tokens = 0

        def predict(self, texts):
            if len(texts) > 1 and any(text.endswith("7777") for text in texts):
                raise ValueError
            p = np.zeros(2, np.float32)
            return [Prediction(int(text), 1.0, p) for text in texts]

        def token_count(self, text):
            return len(text)

    rng = random.Random(0)
    batcher = start(Echo(), max_queue=100_000, max_batch_tokens=500)
    asked = {}
    for i in range(n):
        asked[i] = batcher.submit(str(i))
        if rng.random() < 0.01:
            asked.pop(i).cancel()
        if rng.random() < 0.02:
            await asyncio.sleep(0)
        if len(asked) == 50_000 or i == n - 1:
            for text, future in asked.items():
                assert (await future).prediction.label == text
            asked.clear()


async def test_deadlines_may_be_infinite(start):
    """A text without a deadline waits as long as it takes."""
    batcher = start(scripted(delay_s=0.03))
    scored = await batcher.submit("x", deadline=math.inf)
    assert scored.forward_s >= 0.03


@pytest.mark.parametrize(
    ("texts", "threads"),
    [(["x" * 40], ["MainThread"]), (["x" * 44], ["student"]), (["x" * 24] * 2, ["student"])],
)
async def test_only_a_small_batch_of_a_quick_student_is_answered_in_place(start, texts, threads):
    """All tokens of a batch count: one more than the student promised, and the thread has it."""
    student = Where("a")
    batcher = start(student)
    await asyncio.gather(*map(batcher.submit, texts))
    assert student.threads == threads


async def test_what_exceeds_a_batch_in_place_is_the_next_and_poison_fails_alone(start):
    """Three texts, two of them a batch; the one that breaks the student breaks no other."""
    student = Where(lambda text: ValueError("x") if text == "poison" else "a")
    batcher = start(student, max_batch_texts=2)
    scored = await asyncio.gather(*map(batcher.submit, ["x", "poison", "y"]))
    assert [s.prediction is None for s in scored] == [False, True, False]
    assert (student.calls[0], student.calls[-1]) == (("x", "poison"), ("y",))
    assert set(student.threads) == {"MainThread"}


async def test_close_waits_for_what_is_answered_in_place(start):
    """What was accepted is answered, the next one refused."""
    batcher = start(Where("a"))
    accepted = batcher.submit("x")
    await batcher.close(timeout_s=1)
    assert accepted.result().prediction is not None
    with pytest.raises(Unavailable):
        batcher.submit("y")
