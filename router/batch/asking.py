"""The teacher's part: labelling's way of asking, within the job's money, its answers kept at once.

Who may be asked is decided in the order of the rows and on what is surely paid, before any of them
is asked: so it does not depend on which answer came first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from costmodel.money.pricing import Price, now
from students.errors import BudgetReached, TeacherError
from students.label.answers import Answers
from students.label.asking import Sleep, asker_of, at_once_of
from students.label.cache import ReplyCache
from students.label.labelling import BY_THE_CALL
from students.label.spending import Spending
from students.label.workers import LabelWorkers, Progress
from students.task import Task
from students.teachers.bounds import usage_bound
from students.teachers.idempotency import MEMORY
from students.teachers.protocol import Teacher


@dataclass(frozen=True, eq=False)
class AskedTexts:
    """What came of asking about some texts, by their position.

    Attributes:
        known: the answers, those known from before too.
        paid: positions whose answer this chunk paid for.
        left: what the teacher would not or could not answer, and why.

    A position in neither was not asked about: there was no money left.
    """

    known: Answers
    paid: frozenset[int] = frozenset()
    left: dict[int, TeacherError] = field(default_factory=dict)


class TeacherDesk:
    """Asks about the texts of one chunk after the other.

    Args:
        job: whose answers these are; what it paid for in earlier runs counts against `max_usd`.
        progress: told how far a chunk is and what was spent.
    """

    def __init__(
        self,
        task: Task,
        teacher: Teacher,
        cache: ReplyCache,
        price: Price,
        *,
        job: str,
        max_usd: Decimal | None,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        clock: Callable[[], datetime] = now,
        timer: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        lost, unconfirmed = cache.calls.broken(f"{job}/")
        self.exhausted = False
        """Whether money ran out: nobody is asked any more."""
        self.spending = Spending(
            price,
            max_usd,
            spent=cache.paid(f"{job}/") + lost,
            unconfirmed=unconfirmed,
            clock=clock,
        )
        self._job = job
        self._task = task
        self._cache = cache
        self._max_usd = max_usd
        self._bound = usage_bound(task)
        self._clock = clock
        self._progress = progress
        self._asker = asker_of(
            teacher, task, self.spending, cache, seed=seed, clock=clock, timer=timer, sleep=sleep
        )

    async def ask(self, chunk: int, texts: Sequence[str]) -> AskedTexts:
        """Ask about different texts of a chunk, those first that stand first.

        Raises:
            TeacherUnavailable: it answers nothing at all; what it answered is kept.
            TeacherDenied: it answers nobody with this key, model or address.
        """
        payer = payer_of(self._job, chunk)
        self._cache.calls.payer = payer
        known, payers = self._cache.find(texts)
        todo = [i for i in range(len(texts)) if i not in known]
        asked: set[int] = set()
        left: dict[int, TeacherError] = {}
        while todo and not self.exhausted:
            fitting = self._affordable(texts, todo)
            if not fitting:
                self.exhausted = True
                break
            workers = self._workers(texts, fitting, known)
            try:
                await workers.ask(at_once_of(self._task.teacher))
            except BudgetReached:  # asking again, after a failure, was too much
                self.exhausted = True
            left |= {i: error for i, error in workers.left.items() if i not in known}
            asked |= set(fitting)
            todo = todo[len(fitting) :]
        paid = {i for i, who in payers.items() if who == payer} | {i for i in asked if i in known}
        return AskedTexts(known, frozenset(paid), left)

    def _workers(self, texts: Sequence[str], rows: Sequence[int], known: Answers) -> LabelWorkers:
        section = self._task.teacher
        return LabelWorkers(
            texts,
            [rows],
            [known],
            at_once=section.texts_per_call if section.mode in BY_THE_CALL else 1,
            picky=False,
            cache=self._cache,
            asker=self._asker,
            spending=self.spending,
            clock=self._clock,
            progress=self._progress,
        )

    def _affordable(self, texts: Sequence[str], todo: Sequence[int]) -> Sequence[int]:
        """The first of them that can all be paid, whatever each of them costs at most."""
        if self._max_usd is None:
            return todo
        left = self._max_usd - self.spending.spent - self.spending.unconfirmed
        # What a call may have cost that was cut off, it costs where it is made again.
        left += sum(call.usd for call in self._cache.calls.unended(self._clock() - MEMORY))
        for n, i in enumerate(todo):
            left -= self.spending.cost(self._bound([texts[i]]))
            if left < 0:
                return todo[:n]
        return todo


def payer_of(job: str, chunk: int) -> str:
    """Return the name under which a chunk's answers are paid for."""
    return f"{job}/{chunk}/"
