"""How often the teacher changes its mind when the options are listed the other way round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from costmodel.money.pricing import NO_USAGE, Price, TokenUsage
from students.label.inputs import Inputs
from students.label.labelled import LabelledSet
from students.label.labelling import Labelling, Progress, label_inputs, repeat_sample
from students.labels import NO_LABEL
from students.task import Task
from students.teachers import make_teacher
from students.teachers.protocol import Teacher
from students.teachers.questions import order_of


@dataclass(frozen=True, slots=True)
class OrderFlips:
    """Of `n` inputs asked in both orders, `flipped` got another label; and what asking cost."""

    n: int
    flipped: int
    usage: TokenUsage
    usd: Decimal
    unconfirmed_usd: Decimal


def measures_flips(task: Task) -> bool:
    """Return whether the teacher sees a list that can be reversed."""
    return task.teacher.mode == "chat" and task.teacher.prompt.lists_options


async def order_flips(
    inputs: Inputs,
    labelling: Labelling,
    task: Task,
    cache_path: Path,
    *,
    n: int,
    price: Price,
    progress: Callable[[Progress], None] | None = None,
    max_usd: Decimal | None = None,
    seed: int = 0,
    make: Callable[[Task, bool], Teacher] | None = None,
) -> OrderFlips:
    """Ask a random sample with the options forward and reversed, each on its own.

    Where labels were asked forward only, those answers are one half already. `max_usd` bounds the
    labels' bill and this one together.

    Raises:
        BudgetReached, TeacherError, BadInputs: as `label_inputs`.
    """
    make = make or (lambda task, backwards: make_teacher(task, orders=(backwards,)))
    chosen = labelling.rows[np.array(repeat_sample(len(labelling.rows), n, seed), np.int64)]
    sample = inputs.take(chosen)
    usage, usd, unconfirmed = NO_USAGE, Decimal(0), Decimal(0)
    answers: list[LabelledSet] = []
    for backwards in (False, True):
        if not backwards and order_of(task) == (False,):
            place = np.searchsorted(labelling.rows, chosen)
            answers.append(labelling.labelled.take(place))
            continue
        left = None
        if max_usd is not None:
            left = max_usd - labelling.usd - labelling.other_usd - labelling.unconfirmed_usd
            left -= usd + unconfirmed
        teacher = make(task, backwards)
        try:
            asked = await label_inputs(
                sample,
                teacher,
                task,
                cache_path,
                price=price,
                progress=progress,
                max_usd=left,
                repeats=0,
                seed=seed,
            )
        finally:
            await teacher.aclose()
        usage, usd = usage + asked.usage, usd + asked.usd
        unconfirmed += asked.unconfirmed_usd
        answers.append(asked.labelled)
    forward = dict(zip(answers[0].texts, answers[0].teacher.tolist(), strict=True))
    backward = dict(zip(answers[1].texts, answers[1].teacher.tolist(), strict=True))
    both = [
        text
        for text, said in forward.items()
        if text in backward and {said, backward[text]} != {NO_LABEL}
    ]
    flipped = sum(forward[text] != backward[text] for text in both)
    return OrderFlips(len(both), flipped, usage, usd, unconfirmed)
