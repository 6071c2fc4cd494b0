"""Ask the teacher once about every input, keep every answer, and know what it cost.

The flow: what is known already → ask the rest → ask a sample a second time → one labelled set.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt

from costmodel.money.pricing import NO_USAGE, Price, TokenUsage, now
from students.errors import TeacherDenied, TeacherGarbled, TeacherRejected
from students.label.asking import Asker, Sleep, Throttle
from students.label.cache import Kept, ReplyCache
from students.label.inputs import Inputs
from students.label.labelled import MOST_UNUSABLE, LabelledSet
from students.label.spending import Spending
from students.labels import LabelDistribution, LabelSchema
from students.task import Task
from students.teachers.bounds import usage_bound
from students.teachers.protocol import Teacher, TeacherDescriptor

REPEATS = 200
"""Inputs asked twice, so that self-agreement is known to about ±3 points at 95 %."""
_REFUSED_AT_LEAST = 10
_REFUSED_SHARE = 0.1
_FIRST = 20
"""Answers after which a teacher that names no label is told from one that sometimes does not."""


@dataclass(frozen=True, slots=True)
class SelfAgreement:
    """Of `n` inputs asked twice, `agreed` got the same label: the ceiling of any student."""

    n: int
    agreed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where labelling stands; `done` counts the questions of earlier runs too."""

    done: int
    total: int
    usd: Decimal
    in_flight: int


@dataclass(frozen=True, eq=False)
class Labelling:
    """What came of it.

    Attributes:
        descriptor: the teacher that was asked.
        labelled: what the teacher said, in the order of `rows`.
        rows: (n,), the inputs that were asked about, unusable answers and refusals included.
        usage, usd: of every answer these labels rest on, earlier runs and repeats included.
        unconfirmed_usd: at most this much more was billed for calls that broke off.
        asked, cached: inputs asked in this run, inputs known before it.
        rejected: inputs whose question the teacher turned away, with its reason for the first.
        refused: inputs that the teacher, asked, would not answer.
    """

    descriptor: TeacherDescriptor
    labelled: LabelledSet
    rows: npt.NDArray[np.int64]
    usage: TokenUsage
    usd: Decimal
    unconfirmed_usd: Decimal
    price_words: str
    asked: int
    cached: int
    rejected: int
    rejection: str
    refused: int
    self_agreement: SelfAgreement


async def label_inputs(
    inputs: Inputs,
    teacher: Teacher,
    task: Task,
    cache_path: Path,
    *,
    price: Price | None = None,
    progress: Callable[[Progress], None] | None = None,
    max_usd: Decimal | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
    clock: Callable[[], datetime] = now,
    timer: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> Labelling:
    """Label every input, asking only what the cache does not know.

    `max_usd` bounds what these labels cost in all: what earlier runs paid for them counts.

    Raises:
        BudgetReached: the next question could cross `max_usd`.
        TeacherError: the teacher stayed away, or refused too many inputs.
        BadInputs: another labelling uses the cache.
    """
    if price is None:
        from costmodel.money.pricebook import price_of

        price = price_of(task.teacher.price)
    with ReplyCache(cache_path, teacher.descriptor) as cache:
        known = [cache.read(inputs.texts), cache.read(inputs.texts, repeat=1)]
        sample = repeat_sample(len(inputs), repeats, seed)
        known[1] = {i: known[1][i] for i in sample if i in known[1]}
        before = len(known[0])
        lost, unconfirmed = cache.broken()
        spending = Spending(
            price,
            max_usd,
            spent=sum((kept.usd for half in known for kept in half.values()), lost),
            unconfirmed=unconfirmed,
            clock=clock,
        )
        throttle = Throttle(task.teacher.max_concurrency, timer, sleep)
        asker = Asker(
            teacher,
            spending,
            throttle,
            usage_bound(task),
            lambda usd, confirmed: cache.put_broken(usd, confirmed, clock()),
            rng=random.Random(seed),
            sleep=sleep,
        )
        run = _Run(inputs, cache, asker, spending, throttle, known, clock, progress)
        run.total = len(inputs) + len(sample)
        await run.ask(_jobs(task, inputs, sample, known), task.teacher.max_concurrency)
    # A text that the teacher turns away is traffic, too: it stays, as an answer that is none.
    turned_away = {i: why for i, why in run.refused.items() if i not in known[0]}
    rows = np.array(sorted({*known[0], *turned_away}), np.int64)
    answers = [kept for half in known for kept in half.values()]
    return Labelling(
        descriptor=teacher.descriptor,
        labelled=_labelled(inputs, rows, known[0], teacher.schema),
        rows=rows,
        usage=reduce(TokenUsage.__add__, (kept.usage for kept in answers), NO_USAGE),
        usd=spending.spent,
        unconfirmed_usd=spending.unconfirmed,
        price_words=price.words,
        asked=len(known[0]) - before,
        cached=before,
        rejected=len(turned_away),
        rejection=next(iter(turned_away.values()), ""),
        refused=sum(kept.distribution.refused for kept in known[0].values()),
        self_agreement=_self_agreement(known),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """Rows to ask about in one call; `repeat` 1 asks for the second time."""

    rows: tuple[int, ...]
    repeat: int


class _Run:
    """The workers of one run and what they have learnt so far."""

    def __init__(
        self,
        inputs: Inputs,
        cache: ReplyCache,
        asker: Asker,
        spending: Spending,
        throttle: Throttle,
        known: list[dict[int, Kept]],
        clock: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.known = known
        self.refused: dict[int, str] = {}
        self.total = 0
        self._unusable = sum(kept.distribution.label is None for kept in known[0].values())
        self._inputs = inputs
        self._cache = cache
        self._asker = asker
        self._spending = spending
        self._throttle = throttle
        self._clock = clock
        self._progress = progress
        self._failure: Exception | None = None

    async def ask(self, jobs: Iterator[_Job], workers: int) -> None:
        """Work off the jobs. After a fatal error calls in flight still end: they are paid for."""
        self._report()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(jobs))
        if self._failure is not None:
            raise self._failure

    async def _work(self, jobs: Iterator[_Job]) -> None:
        for job in jobs:
            if self._failure is not None:
                return
            try:
                await self._do(job)
                self._report()
            except Exception as error:
                # Whatever it is: calls in flight end first, then the first failure is raised.
                self._failure = self._failure or error
                return

    async def _do(self, job: _Job) -> None:
        texts = [self._inputs.texts[i] for i in job.rows]
        try:
            replies = await self._asker.ask(texts)
        except TeacherDenied:
            raise
        except (TeacherRejected, TeacherGarbled) as error:
            if len(job.rows) == 1:
                self._refuse(job.rows[0], error)
            else:
                for row in job.rows:
                    await self._do(_Job((row,), job.repeat))
            return
        usd = [self._spending.cost(reply.usage) for reply in replies]
        self._cache.put(texts, replies, usd, self._clock(), job.repeat)
        for i, reply, cost in zip(job.rows, replies, usd, strict=True):
            self.known[job.repeat][i] = Kept(reply.distribution, reply.usage, cost)
            if reply.distribution.label is None and not job.repeat:
                self._unusable += 1
                self._stop_if_useless(reply.fault)

    def _stop_if_useless(self, fault: str) -> None:
        """End before more money is spent where surely too many answers mean no label.

        Surely: three standard errors above the share that a student may be made of.
        """
        n = len(self.known[0])
        most = MOST_UNUSABLE * n + 3 * (MOST_UNUSABLE * (1 - MOST_UNUSABLE) * n) ** 0.5
        if n >= min(_FIRST, len(self._inputs)) and self._unusable > most:
            raise TeacherRejected(
                f"{self._unusable} of the first {n} answers are no label, so labelling stops here; "
                f"the last time {fault}"
            )

    def _refuse(self, row: int, error: TeacherRejected | TeacherGarbled) -> None:
        self.refused[row] = str(error)
        answered = len(self.known[0])
        if len(self.refused) >= min(_REFUSED_AT_LEAST, len(self._inputs)) and len(
            self.refused
        ) > _REFUSED_SHARE * (answered + len(self.refused)):
            raise type(error)(
                f"the teacher refused {len(self.refused)} of {answered + len(self.refused)} texts; "
                f"the last time: {error}"
            )

    def _report(self) -> None:
        if self._progress is not None:
            done = sum(map(len, self.known)) + len(self.refused)
            self._progress(
                Progress(done, self.total, self._spending.spent, self._throttle.in_flight)
            )


def repeat_sample(n: int, repeats: int = REPEATS, seed: int = 0) -> list[int]:
    """Return the rows that are asked twice: a random sample, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [int(i) for i in np.sort(rng.permutation(n)[: min(repeats, n)])]


def _jobs(
    task: Task, inputs: Inputs, sample: Sequence[int], known: Sequence[dict[int, Kept]]
) -> Iterator[_Job]:
    """Yield what is not known: first the labels, then the second askings."""
    size = task.teacher.texts_per_call if task.teacher.mode in ("classify", "local") else 1
    for repeat, rows in enumerate((range(len(inputs)), sample)):
        todo = [i for i in rows if i not in known[repeat]]
        for start in range(0, len(todo), size):
            yield _Job(tuple(todo[start : start + size]), repeat)


def _labelled(
    inputs: Inputs, rows: npt.NDArray[np.int64], known: dict[int, Kept], schema: LabelSchema
) -> LabelledSet:
    none = LabelDistribution.refusal(len(schema))
    answers = [known[i].distribution if i in known else none for i in rows.tolist()]
    return LabelledSet(
        schema,
        tuple(inputs.texts[i] for i in rows),
        np.array([a.probabilities for a in answers], np.float32).reshape(-1, len(schema)),
        np.array([a.other for a in answers], np.float32),
        np.array([a.truncated for a in answers], np.bool_),
        inputs.gold[rows],
        np.array([a.label is not None for a in answers], np.bool_),
    )


def _self_agreement(known: Sequence[dict[int, Kept]]) -> SelfAgreement:
    pairs = [
        (known[0][i].distribution.label, again.distribution.label)
        for i, again in known[1].items()
        if i in known[0]
    ]
    said = [(one, two) for one, two in pairs if one is not None or two is not None]
    return SelfAgreement(len(said), sum(one == two for one, two in said))
