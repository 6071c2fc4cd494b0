"""Ask the teacher once about every input, keep every answer, and know what it cost.

The flow: what is known already → ask the rest → ask a sample a second time → one labelled set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import Price, TokenUsage, now
from students.label.answers import Answers
from students.label.asking import Sleep, asker_of, at_once_of
from students.label.cache import ReplyCache
from students.label.inputs import Inputs
from students.label.labelled import LabelledSet
from students.label.spending import Spending
from students.label.split import asking_order
from students.label.workers import LabelWorkers, Progress
from students.task import Task
from students.teachers.protocol import Teacher, TeacherDescriptor

__all__ = [
    "Labelling",
    "Progress",
    "SelfAgreement",
    "label_inputs",
    "repeat_sample",
    "usual_repeats",
]

REPEATS = 200
"""Inputs asked twice, so that self-agreement is known to about ±3 points at 95 %."""
BY_THE_CALL = ("classify", "local")
"""Modes that answer about several texts in a call."""


@dataclass(frozen=True, slots=True)
class SelfAgreement:
    """Of `n` inputs asked twice, `agreed` got the same label: the ceiling of any student."""

    n: int
    agreed: int


@dataclass(frozen=True, eq=False)
class Labelling:
    """What came of it.

    Attributes:
        descriptor: the teacher that was asked.
        labelled: what the teacher said, in the order of `rows`.
        rows: (n,), the inputs that were asked about, unusable answers and refusals included.
        usage, usd: of every answer these labels rest on, earlier runs and repeats included.
        other_usd: this teacher's answers that these labels do not use, e.g. of other inputs.
        unconfirmed_usd: at most this much more was billed for calls that broke off.
        asked, cached: inputs asked in this run, inputs known before it.
        rejected: inputs that the teacher turned away or never answers, with the first's reason.
        left: which inputs these are.
        refused: inputs that the teacher, asked, would not answer.
        estimated: answers whose consumption the teacher did not say.
    """

    descriptor: TeacherDescriptor
    labelled: LabelledSet
    rows: npt.NDArray[np.int64]
    usage: TokenUsage
    usd: Decimal
    other_usd: Decimal
    unconfirmed_usd: Decimal
    price_words: str
    asked: int
    cached: int
    rejected: int
    rejection: str
    left: tuple[int, ...]
    refused: int
    estimated: int
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
    ended_early: Callable[[Labelling], None] | None = None,
) -> Labelling:
    """Label every input, asking only what the cache does not know.

    `max_usd` bounds what this teacher cost in all: what earlier runs paid for counts. `ended_early`
    is told what there is, a random sample of the inputs, before an error or a cancellation passes.

    Raises:
        BudgetReached: the next question could cross `max_usd`.
        TeacherError: the teacher stayed away, or refused too many inputs.
        BadInputs: another labelling uses the cache.
    """
    if price is None:
        price = price_of(task.teacher.price)
    with ReplyCache(cache_path, teacher.descriptor) as cache:
        known = [cache.read(inputs.texts), cache.read(inputs.texts, repeat=1)]
        sample = repeat_sample(len(inputs), repeats, seed)
        for i in set(known[1]) - set(sample):
            del known[1][i]
        before = len(known[0])
        lost, unconfirmed = cache.calls.broken()
        used = known[0].usd + known[1].usd
        other = cache.paid() - used
        spending = Spending(
            price, max_usd, spent=used + other + lost, unconfirmed=unconfirmed, clock=clock
        )
        asker = asker_of(
            teacher, task, spending, cache, seed=seed, clock=clock, timer=timer, sleep=sleep
        )
        # In random order: what there is when money or the teacher ends is a random sample.
        orders = asking_order(inputs, seed), sample
        workers = LabelWorkers(
            inputs.texts,
            [[i for i in rows if i not in half] for rows, half in zip(orders, known, strict=True)],
            known,
            at_once=task.teacher.texts_per_call if task.teacher.mode in BY_THE_CALL else 1,
            cache=cache,
            asker=asker,
            spending=spending,
            clock=clock,
            progress=progress,
        )

        def labelling() -> Labelling:
            left = {i: str(why) for i, why in workers.left.items() if i not in known[0]}
            bill = spending.spent - other, other, spending.unconfirmed
            return _labelling(inputs, teacher, bill, price.words, known, left, before)

        try:
            await workers.ask(at_once_of(task.teacher))
        except BaseException:
            if ended_early is not None and known[0]:
                ended_early(labelling())
            raise
        return labelling()


def usual_repeats(n: int) -> int:
    """Return how many of n inputs are asked twice where nobody says: a tenth, `REPEATS` at most.

    A small pile is not paid for a second time so that its teacher's noise is known better.
    """
    return min(REPEATS, -(-n // 10))


def repeat_sample(n: int, repeats: int = REPEATS, seed: int = 0) -> list[int]:
    """Return the rows that are asked twice: a random sample, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [int(i) for i in np.sort(rng.permutation(n)[: min(repeats, n)])]


def _labelling(
    inputs: Inputs,
    teacher: Teacher,
    bill: tuple[Decimal, Decimal, Decimal],
    price_words: str,
    known: Sequence[Answers],
    left: dict[int, str],
    before: int,
) -> Labelling:
    # A text that the teacher turns away is traffic, too: it stays, as an answer that is none.
    rows = np.array(sorted({*known[0], *left}), np.int64)
    texts = tuple(inputs.texts[i] for i in rows)
    return Labelling(
        descriptor=teacher.descriptor,
        labelled=known[0].labelled(rows, texts, inputs.gold[rows], teacher.schema),
        rows=rows,
        usage=known[0].usage + known[1].usage,
        usd=bill[0],
        other_usd=bill[1],
        unconfirmed_usd=bill[2],
        price_words=price_words,
        asked=len(known[0]) - before,
        cached=before,
        rejected=len(left),
        rejection=next(iter(left.values()), ""),
        left=tuple(left),
        refused=known[0].refused,
        estimated=known[0].estimated + known[1].estimated,
        self_agreement=_self_agreement(known),
    )


def _self_agreement(known: Sequence[Answers]) -> SelfAgreement:
    pairs = [
        (known[0][i].distribution.label, again.distribution.label)
        for i, again in known[1].items()
        if i in known[0]
    ]
    said = [(one, two) for one, two in pairs if one is not None or two is not None]
    return SelfAgreement(len(said), sum(one == two for one, two in said))
