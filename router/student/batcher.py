"""Token-budget dynamic batching: what queued while the last batch ran is the next batch.

There is no artificial wait: a text that finds the student idle goes at the end of this tick of the
event loop, together with those that arrived in the same tick. The student runs in one worker
thread; only a batch that it answers, for sure, sooner than it could be handed to the thread
(`Student.in_place_tokens`) is answered where it is. The choice and its measurements:
docs/decisions/0002-the-hot-path.md.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from router.clock import Client, Clock
from router.errors import ClientGone, DeadlinePassed, Overloaded, Refusal, Unavailable
from students.labels import Prediction
from students.runtime.protocol import Student

log = logging.getLogger(__name__)
WATCH_S = 0.02
"""How often a running batch is checked for texts whose deadline passed."""


class Waiter(Protocol):
    """Told once what became of a text; an `asyncio.Future` is one."""

    def done(self) -> bool:
        """Whether it needs no answer any more."""
        ...

    def set_result(self, scored: Scored, /) -> None:
        """Take the score; must not raise."""
        ...

    def set_exception(self, refusal: Refusal, /) -> None:
        """Take the reason why there is none; must not raise."""
        ...


class Scored(msgspec.Struct, frozen=True, gc=False):
    """What became of one text: `prediction` is None when the student failed on it."""

    prediction: Prediction | None
    queue_s: float
    forward_s: float

    @property
    def usable(self) -> bool:
        """Whether the student said something: with a confidence, or out of its scope."""
        said = self.prediction
        return said is not None and (math.isfinite(said.confidence) or not said.in_scope)

    @property
    def confidence(self) -> float | None:
        """How sure the student is; None where it is not, or out of its scope."""
        said = self.prediction
        return said.confidence if said is not None and math.isfinite(said.confidence) else None

    @property
    def doubt(self) -> float:
        """The probability that the student is wrong: 1 where it said nothing."""
        return 1.0 - (self.confidence or 0.0)


class _Item(msgspec.Struct, gc=False):
    text: str
    tokens: int
    deadline: float
    client: Client | None
    waiter: Waiter
    queued_at: float


class _Batch(msgspec.Struct, gc=False):
    items: list[_Item]
    started_at: float


class _Forward(msgspec.Struct, gc=False):
    outcomes: list[Prediction | None]
    started: float
    seconds: float


class Batcher:
    """Groups texts for one student; everybody who waits is told exactly once.

    All methods belong to the event loop's thread.

    Args:
        student: predicts in the worker thread, or in place if it is quick.
        max_queue: texts that may wait; one more is refused.
        max_batch_texts: texts of one batch, at most.
        max_batch_tokens: their `student.token_count` together, at most; a single longer text still
            gets a batch of its own.
        clock: monotonic seconds; deadlines are read on it.
    """

    def __init__(
        self,
        student: Student,
        *,
        max_queue: int = 1_024,
        max_batch_texts: int = 256,
        max_batch_tokens: int = 16_384,
        clock: Clock = time.monotonic,
    ) -> None:
        self._student = student
        self._in_place_tokens = student.in_place_tokens
        self._max_queue = max_queue
        self._max_batch_texts = max_batch_texts
        self._max_batch_tokens = max_batch_tokens
        self._clock = clock
        self._waiting: deque[_Item] = deque()
        self._running: _Batch | None = None
        self._scheduled = False
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._handover: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="student", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self.batches = 0
        """Batches that the student has answered."""

    @property
    def depth(self) -> int:
        """Texts that wait."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """Texts that may still come."""
        return self._max_queue - len(self._waiting)

    def alive(self, stall_s: float) -> bool:
        """Whether the worker lives and its batch has not been running for over `stall_s`."""
        running = self._running
        hangs = running is not None and self._clock() - running.started_at > stall_s
        return self._worker.is_alive() and not hangs

    @property
    def started(self) -> bool:
        """Whether it takes texts, or once did."""
        return self._worker.ident is not None

    def start(self) -> None:
        """Start the worker; call it on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()

    def submit(
        self,
        text: str,
        *,
        deadline: float = math.inf,
        client: Client | None = None,
        priority: int = 0,
    ) -> asyncio.Future[Scored]:
        """Queue a text; the future gives its score, or raises as `put` says.

        Raises:
            Overloaded, Unavailable: as `put`.
        """
        future: asyncio.Future[Scored] = self._loop.create_future()
        self.put(text, future, deadline, client, priority)
        return future

    def put(
        self,
        text: str,
        waiter: Waiter,
        deadline: float = math.inf,
        client: Client | None = None,
        priority: int = 0,
    ) -> None:
        """Queue a text; the waiter gets its score.

        It gets DeadlinePassed or ClientGone when the text was dropped before the student saw it
        (or, for the deadline, while it was being seen), and Unavailable at close.

        Priority 0 may use the whole queue, priority p (to 9) only (10 - p) tenths of it: under
        overload the least urgent are refused first, and the urgent do not notice.

        Raises:
            Overloaded: the queue is full, for this priority.
            Unavailable: the batcher is closing.
        """
        limit = self._max_queue if not priority else self._max_queue * (10 - priority) // 10
        if len(self._waiting) >= limit:
            raise Overloaded("The student's queue is full; retry in a moment.")
        if self._closing:
            raise Unavailable("The router is shutting down; ask another instance.")
        tokens = self._student.token_count(text)
        self._waiting.append(_Item(text, tokens, deadline, client, waiter, self._clock()))
        if not self._scheduled:
            self._schedule()

    async def close(self, timeout_s: float = 30.0) -> None:
        """Finish what was accepted, refuse the rest, stop the worker."""
        self._closing = True
        if self._waiting or self._running is not None:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=timeout_s)
        gone = Unavailable("The router shut down before the student answered.")
        for item in (*self._waiting, *(self._running.items if self._running else ())):
            _fail(item, gone)
        self._waiting.clear()
        self._handover.put(None)

    def _schedule(self) -> None:
        if not self._scheduled and self._running is None:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Answer the next batch or hand it to the worker, if anybody still wants an answer."""
        self._scheduled = False
        items, tokens = self._take()
        if not items:
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)
            return
        if tokens <= self._in_place_tokens:
            self.batches += 1
            _tell(items, self._forward(items))
            if self._waiting or self._idle is not None:
                self._schedule()
            return
        self._running = batch = _Batch(items, self._clock())
        self._handover.put(batch)
        self._loop.call_later(WATCH_S, self._watch, batch)

    def _take(self) -> tuple[list[_Item], int]:
        """Take the oldest texts within both budgets, and say how many tokens they have.

        Those nobody waits for are dropped.
        """
        now = self._clock()
        items: list[_Item] = []
        tokens = 0
        while self._waiting and len(items) < self._max_batch_texts:
            item = self._waiting[0]
            if item.waiter.done():
                pass
            elif item.client is not None and item.client.disconnected:
                item.waiter.set_exception(ClientGone("The client hung up."))
            elif item.deadline <= now:
                item.waiter.set_exception(_late())
            elif items and tokens + item.tokens > self._max_batch_tokens:
                break
            else:
                items.append(item)
                tokens += item.tokens
            self._waiting.popleft()
        return items, tokens

    def _watch(self, batch: _Batch) -> None:
        """Keep deadlines although the student is slow: only long batches are ever looked at."""
        if self._running is not batch:
            return
        now = self._clock()
        for item in (*batch.items, *self._waiting):
            if item.deadline <= now:
                _fail(item, _late())
        self._loop.call_later(WATCH_S, self._watch, batch)

    def _work(self) -> None:
        """Run in the worker thread: forward, hand back, until told to stop."""
        while (batch := self._handover.get()) is not None:
            forward = self._forward(batch.items)
            try:
                self._loop.call_soon_threadsafe(self._finish, batch, forward)
            except RuntimeError:  # the loop was closed: nobody is left to answer
                return

    def _forward(self, items: Sequence[_Item]) -> _Forward:
        started = self._clock()
        outcomes = _predict(self._student, [item.text for item in items])
        return _Forward(outcomes, started, self._clock() - started)

    def _finish(self, batch: _Batch, forward: _Forward) -> None:
        """Go on with what queued meanwhile, then give every text its own outcome."""
        self._running = None
        self.batches += 1
        self._dispatch()
        _tell(batch.items, forward)


def _tell(items: Sequence[_Item], forward: _Forward) -> None:
    """Give every text its own outcome."""
    for item, prediction in zip(items, forward.outcomes, strict=True):
        if not item.waiter.done():
            queue_s = forward.started - item.queued_at
            item.waiter.set_result(Scored(prediction, queue_s, forward.seconds))


def _predict(student: Student, texts: Sequence[str]) -> list[Prediction | None]:
    """Predict in order; a text that breaks the student fails alone, found by halving."""
    try:
        predictions = student.predict(texts)
        if len(predictions) == len(texts):
            return list(predictions)
        fault = f"{len(predictions)} predictions for {len(texts)} texts"
    except BaseException as error:  # a student that calls sys.exit must not end the worker
        fault = f"{type(error).__name__}"
    if len(texts) == 1:
        log.error("the student failed on one text: %s", fault)
        return [None]
    half = len(texts) // 2
    return [*_predict(student, texts[:half]), *_predict(student, texts[half:])]


def _late() -> DeadlinePassed:
    return DeadlinePassed("The deadline passed before the student answered.")


def _fail(item: _Item, refusal: Refusal) -> None:
    if not item.waiter.done():
        item.waiter.set_exception(refusal)
