"""A candidate beside the student that serves: scored on what was drawn, never answering.

Both are asked about the same request and compared with the same answer of the teacher, one that was
paid for anyway. The candidate has a worker of its own; what would wait for it is left out and
counted. What was compared goes to the store of all workers a few times a minute, and a candidate
that is shown to be worse is taken out by each worker itself.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from router.errors import Refusal
from router.in_flight import InFlight
from router.policy import KEEP, decide
from router.promise.duel import Duel, Outlook, Pair, reopen_duel
from router.shared.records import SHADOW, Judge, Ruling, StoreAway
from router.shared.store import Store
from router.student.loaded import Model
from students.labels import Prediction
from students.sections import PromotionSection

TICK_S = 1.0
MOST_AT_ONCE = 64
"""Requests that wait for the second student; one more is left out, and counted."""
MOST_WAITING = 20_000
"""Pairs that wait for the store."""
log = logging.getLogger(__name__)


class Follow(Protocol):
    """Told every second what the duel says; acts on it."""

    def __call__(self, outlook: Outlook, earned_share: float) -> None:
        """Take it."""
        ...


class Shadow:
    """One candidate beside one student.

    Args:
        task: whose.
        current: the student that serves.
        candidate: the one beside it.
        rules: of the test.
        store: of all workers.
        instance: who this worker is.
    """

    def __init__(
        self,
        task: str,
        current: Model,
        candidate: Model,
        rules: PromotionSection,
        store: Store,
        instance: str,
        *,
        tick_s: float = TICK_S,
    ) -> None:
        self.current = current
        self.candidate = candidate
        self.left_out = 0
        """Drawn requests that were not compared: too many at once, or a student failed."""
        self.ruling: Ruling | None = None
        """As the store has it; None before the first exchange."""
        self._key = (task + SHADOW, f"{candidate.bundle}/{current.bundle}")
        self._reopen = reopen_duel(rules)
        self._store = store
        self._instance = instance
        self._tick_s = tick_s
        self._pairs: list[Pair] = []
        self._running = InFlight()
        self._task: asyncio.Task[None] | None = None

    def start(self, follow: Follow) -> None:
        """Begin to exchange, on the running loop."""
        self._task = asyncio.create_task(self._run(follow))

    async def close(self) -> None:
        """Stop, and tell the store what is left."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._running.close(1.0)
        await self.exchange()

    def compare(self, text: str, by: Model, said: Prediction | None, teacher: int | None) -> None:
        """Take a request that was drawn: who answered it, what that one and the teacher said."""
        if by is self.current:
            other = self.candidate
        elif by is self.candidate:
            other = self.current
        else:
            return
        if said is None or len(self._running) >= MOST_AT_ONCE:
            self.left_out += 1
            return
        self._running.start(self._compare(text, by, said, other, teacher))

    async def _compare(
        self, text: str, by: Model, said: Prediction, other: Model, teacher: int | None
    ) -> None:
        try:
            scored = await other.batcher.submit(text)
        except Refusal:
            self.left_out += 1
            return
        if scored.prediction is None or len(self._pairs) >= MOST_WAITING:
            self.left_out += 1
            return
        mine, its = _seen(by, said, teacher), _seen(other, scored.prediction, teacher)
        current, candidate = (mine, its) if by is self.current else (its, mine)
        self._pairs.append(Pair(current[0], candidate[0], current[1], candidate[1]))

    async def exchange(self) -> None:
        """Tell the store the pairs, and take what it rules.

        Pairs of an exchange that fails are left out: told twice they would count twice.
        """
        pairs, self._pairs = self._pairs, []

        def change(judge: Judge) -> None:
            assert isinstance(judge, Duel), "opened by `reopen_duel`"
            judge.take(pairs)

        try:
            self.ruling = await asyncio.to_thread(
                self._store.amend, self._instance, *self._key, self._reopen, change
            )
        except StoreAway as fault:
            self.left_out += len(pairs)
            log.warning("a shadow's comparisons are left out: %s", fault)

    async def _run(self, follow: Follow) -> None:
        while True:
            await self.exchange()
            if self.ruling is not None:
                figures = self.ruling.verdict.figures
                follow(Outlook(str(figures["outlook"])), float(figures["earned_share"] or 0.0))
            await asyncio.sleep(self._tick_s)


def _seen(model: Model, said: Prediction, teacher: int | None) -> tuple[bool, bool]:
    """Return whether a student's own answer would have stood and differed, and if it had asked.

    Its answers are judged at its certificate's thresholds, its cost as it is served: one whose
    promise broke asks about everything, and whoever asks less is the cheaper.
    """
    keeps = decide(said, model.thresholds) is KEEP
    wrong, watch = keeps and said.label != teacher, model.watch
    if watch is None or watch.alarmed:
        return wrong, not keeps or watch is not None
    raised = decide(said, model.raised(watch.threshold)) is KEEP
    return wrong, not raised
