"""The workers of one labelling run: what is still to ask, what fails and why, and when to stop.

What belongs to one text is told from what belongs to the teacher. A call that fails is divided
until the text at fault is alone; the run ends only where the teacher fails on other texts, too.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from students.errors import (
    TeacherDenied,
    TeacherError,
    TeacherGarbled,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.label.answers import Answers, CachedAnswer
from students.label.asking import Asker
from students.label.cache import ReplyCache, text_key
from students.label.labelled import MOST_UNUSABLE
from students.label.spending import BrokenCall, Spending
from students.teachers.idempotency import MEMORY
from students.teachers.protocol import ASKED_BEFORE, TeacherReply

_LEFT_AT_LEAST = 10
_LEFT_SHARE = 0.1
_FIRST = 20
"""Answers after which a teacher that names no label is told from one that sometimes does not."""
_LATE_HALVES = 3
"""How often a late call is halved on trust: fewer calls, fewer texts and more time cure most."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where labelling stands; `done` counts the questions of earlier runs too."""

    done: int
    total: int
    usd: Decimal
    in_flight: int


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows to ask about in one call; `repeat` 1 asks for the second time.

    `unended`: an earlier run was killed in this very call.
    """

    rows: tuple[int, ...]
    repeat: int
    halved: int = 0
    unended: BrokenCall | None = None


class LabelWorkers:
    """Ask about rows of `texts` until all are known or left out.

    Attributes:
        left: rows that the teacher cannot be asked about, with the last call's error.

    Args:
        texts: what is asked about, by row.
        todo: rows to ask about for the first time and again, in order.
        known: answers by row of the first and of the second asking; filled here.
        at_once: texts in a call, at most.
        picky: end before more is paid where too many answers are none; else every text that can be
            answered is, however few they are.
    """

    def __init__(
        self,
        texts: Sequence[str],
        todo: Sequence[Sequence[int]],
        known: Sequence[Answers],
        *,
        at_once: int,
        picky: bool = True,
        cache: ReplyCache,
        asker: Asker,
        spending: Spending,
        clock: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.left: dict[int, TeacherError] = {}
        self._texts = texts
        self._todo = [deque(rows) for rows in todo]
        self._known = known
        self._total = sum(map(len, [*known, *todo]))
        self._at_once = self._most_at_once = float(at_once)
        self._picky = picky
        self._cache = cache
        self._asker = asker
        self._spending = spending
        self._clock = clock
        self._progress = progress
        self._unusable = known[0].unusable
        self._answered = 0
        self._proving = asyncio.Lock()
        self._failure: Exception | None = None
        self._unended = self._as_they_were(cache.calls.unended(clock() - MEMORY))

    async def ask(self, workers: int) -> None:
        """Work it off. After a fatal error calls in flight still end: they are paid for."""
        self._report()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())
        if self._failure is not None:
            raise self._failure

    async def _work(self) -> None:
        while self._failure is None and (job := self._next()) is not None:
            try:
                await self._do(job)
                self._report()
            except Exception as error:
                # Whatever it is: calls in flight end first, then the first failure is raised.
                self._failure = self._failure or error

    def _as_they_were(self, calls: Sequence[BrokenCall]) -> deque[_Job]:
        """Take calls that were cut off out of what is to ask: made again, they are the same ones.

        One whose texts are no longer to be asked about stays what it is, lost.
        """
        jobs: deque[_Job] = deque()
        if not calls:
            return jobs
        places = [{text_key(self._texts[i]): i for i in rows} for rows in self._todo]
        for call in calls:
            there = places[call.repeat] if call.repeat < len(places) else {}
            if all(key in there for key in call.keys):
                rows = tuple(there.pop(key) for key in call.keys)
                jobs.append(_Job(rows, call.repeat, unended=call))
        for repeat, queue in enumerate(self._todo):
            taken = {row for job in jobs if job.repeat == repeat for row in job.rows}
            self._todo[repeat] = deque(row for row in queue if row not in taken)
        return jobs

    def _next(self, most: int | None = None) -> _Job | None:
        if self._unended and most is None:
            return self._unended.popleft()
        for repeat, rows in enumerate(self._todo):
            if rows:
                n = min(len(rows), most or int(self._at_once))
                return _Job(tuple(rows.popleft() for _ in range(n)), repeat)
        return None

    async def _do(self, job: _Job) -> None:
        before = self._answered
        try:
            replies = await self._replies(job)
        except TeacherDenied:
            raise
        except (TeacherRejected, TeacherGarbled, TeacherUnavailable) as error:
            if isinstance(error, TeacherTimeout) and not job.halved:
                self._at_once = max(1.0, len(job.rows) / 2)
            if isinstance(error, TeacherUnavailable) and self._answered == before:
                await self._try_another(job, error)
            await self._divide(job, error)
            return
        self._keep(job, replies)
        # As the throttle does: one more after as many calls as there are texts in one.
        if len(job.rows) >= int(self._at_once):
            self._at_once = min(self._at_once + 1 / self._at_once, self._most_at_once)

    async def _replies(self, job: _Job) -> list[TeacherReply]:
        ASKED_BEFORE.set(job.repeat)
        return await self._asker.ask([self._texts[i] for i in job.rows], job.unended)

    async def _divide(self, job: _Job, error: TeacherError) -> None:
        n = len(job.rows)
        if n == 1:
            self._leave(job.rows[0], error)
            return
        for rows in (job.rows[: n // 2], job.rows[n // 2 :]):
            if self._failure is None:
                await self._do(_Job(rows, job.repeat, job.halved + 1))

    async def _try_another(self, job: _Job, error: TeacherUnavailable) -> None:
        """Return if the teacher answers about another text: the fault is not its own.

        Raises:
            TeacherUnavailable: `error`, as the teacher answers nothing.
        """
        late = isinstance(error, TeacherTimeout) and len(job.rows) > 1
        if late and job.halved < _LATE_HALVES:
            return
        before = self._answered
        async with self._proving:
            if self._answered > before:
                return
            other = self._next(1)
            try:
                if other is not None:
                    self._keep(other, await self._replies(other))
                elif self._known[0]:
                    await self._ask_again(self._texts[next(iter(self._known[0]))])
                elif len(job.rows) == 1:
                    raise error
            except TeacherUnavailable:
                raise error from None
            except (TeacherRejected, TeacherGarbled) as refused:
                if isinstance(refused, TeacherDenied) or other is None:
                    raise
                self._leave(other.rows[0], refused)

    async def _ask_again(self, text: str) -> None:
        ASKED_BEFORE.set(len(self._known))
        replies = await self._asker.ask([text])
        usd = sum((self._spending.cost(reply.usage) for reply in replies), Decimal(0))
        self._cache.calls.put_broken(usd, True, self._clock())
        self._cache.calls.put_returned([text_key(text)], len(self._known))

    def _keep(self, job: _Job, replies: Sequence[TeacherReply]) -> None:
        self._answered += 1
        usd = self._spending.costs([reply.usage for reply in replies])
        texts = [self._texts[i] for i in job.rows]
        self._cache.put(texts, replies, usd, self._clock(), job.repeat)
        self._known[job.repeat].fill(
            job.rows,
            [
                CachedAnswer(reply.distribution, reply.usage, cost, reply.estimated)
                for reply, cost in zip(replies, usd, strict=True)
            ],
        )
        if self._picky and not job.repeat:
            self._stop_if_useless(replies)

    def _stop_if_useless(self, replies: Sequence[TeacherReply]) -> None:
        """End before more money is spent where surely too many answers mean no label."""
        faults = [reply.fault for reply in replies if reply.distribution.label is None]
        self._unusable += len(faults)
        n = len(self._known[0])
        enough = n >= min(_FIRST, n + len(self._todo[0]))
        if faults and enough and self._unusable > _surely_more(MOST_UNUSABLE, n):
            fault = faults[-1]
            raise TeacherRejected(
                f"{self._unusable} of the first {n} answers are no label, so labelling stops here; "
                f"the last time {fault or 'no label stood above the others'}"
            )

    def _leave(self, row: int, error: TeacherError) -> None:
        """Leave a text out; too many are no property of texts."""
        self.left[row] = error
        if not self._picky:
            return
        left, answered = len(self.left), len(self._known[0])
        everything = answered + left + len(self._todo[0])
        most = _surely_more(_LEFT_SHARE, answered + left)
        if left >= min(_LEFT_AT_LEAST, everything) and left > most:
            raise type(error)(
                f"the teacher refused {left} of {answered + left} texts; the last time: {error}"
            )

    def _report(self) -> None:
        if self._progress is not None:
            done = sum(map(len, self._known)) + len(self.left)
            self._progress(Progress(done, self._total, self._spending.spent, self._asker.in_flight))


def _surely_more(share: float, n: int) -> float:
    """How many of `n` are more than a share: three standard errors above it."""
    return share * n + 3 * math.sqrt(share * (1 - share) * n)
