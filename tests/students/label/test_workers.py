"""What belongs to one text is told from what belongs to the teacher: labelling ends, and well."""

import asyncio
import itertools
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from costmodel.money.pricing import NO_USAGE, TokenPrice, TokenUsage
from students.errors import (
    BudgetReached,
    TeacherDenied,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.label.split import sample_rows
from students.labels import LabelSchema
from students.task import Task
from students.teachers.bounds import usage_bound
from students.testing import ScriptedTeacher

SCHEMA = LabelSchema(("calm", "urgent"))
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
PRICE = TokenPrice(Decimal(1), Decimal(10), Decimal("0.1"), "$1 in, $10 out")
DOWN = TeacherUnavailable("503", usage=NO_USAGE)


def _task(tmp_path, **teacher):
    section = {
        "mode": "classify",
        "base_url": "http://127.0.0.1:1",
        "model": "m",
        "texts_per_call": 8,
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 10},
        **teacher,
    }
    return Task.model_validate(
        {"name": "t", "labels": list(SCHEMA.names), "teacher": section,
         "inputs": {"path": tmp_path / "none.csv"}, "work_dir": tmp_path}
    )  # fmt: skip


def _inputs(n):
    return make_inputs([f"text {i}" for i in range(n)], np.arange(n, dtype=np.int32) % 2)


def _answer(text):
    return (0.9, 0.1) if int(text.split()[1]) % 2 else (0.2, 0.8)


async def _label(tmp_path, teacher, n=20, task=None, **options):
    now = [0.0]

    async def sleep(seconds):
        now[0] += seconds
        await asyncio.sleep(0)

    return await label_inputs(
        _inputs(n), teacher, task or _task(tmp_path), tmp_path / "replies.sqlite",
        **{"price": PRICE, "repeats": 0, "timer": lambda: now[0], "sleep": sleep, **options},
    )  # fmt: skip


class Picky(ScriptedTeacher):
    """Fails every call that `fails` says it cannot stand."""

    def __init__(self, fails, error):
        super().__init__(SCHEMA, _answer)
        self._fails, self._error = fails, error

    async def label(self, texts, *, timeout_s=None):
        """Answer, and then fail where it must."""
        replies = await super().label(texts, timeout_s=timeout_s)
        if self._fails(texts):
            raise self._error
        return replies


@pytest.mark.parametrize("poison", [0, 7, 19])
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("error", [TeacherTimeout("late"), DOWN, TeacherRejected("no")])
async def test_one_text_that_always_fails_is_left_out_alone(tmp_path, error, workers, poison):
    """The call that held it ended every run without labels, wherever in the file it stood."""
    teacher = Picky(lambda texts: f"text {poison}" in texts, error)
    done = await _label(tmp_path, teacher, task=_task(tmp_path, max_concurrency=workers))
    assert done.left == (poison,)
    assert done.rows.tolist() == list(range(20))
    assert np.flatnonzero(~done.labelled.usable).tolist() == [poison]
    assert done.rejection == str(error)
    again = ScriptedTeacher(SCHEMA, _answer)
    assert (await _label(tmp_path, again)).left == ()
    assert again.calls == [(f"text {poison}",)]


@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize("error", [TeacherTimeout("late"), DOWN])
async def test_a_teacher_that_answers_nothing_ends_the_run(tmp_path, error, n):
    """Nothing is left out when nobody was answered; it ends after a few calls, not after all."""
    teacher = Picky(lambda texts: True, error)
    with pytest.raises(TeacherUnavailable, match=str(error)):
        await _label(tmp_path, teacher, n=n, task=_task(tmp_path, max_concurrency=2))
    assert len(teacher.calls) <= 40


async def test_a_teacher_that_dies_at_the_last_text_is_not_the_texts_fault(tmp_path):
    """With nothing else to ask, a text that was answered is asked about again."""
    seen = itertools.count()
    teacher = Picky(lambda texts: next(seen) >= 19, DOWN)
    task = _task(tmp_path, texts_per_call=1, max_concurrency=1)
    with pytest.raises(TeacherUnavailable, match="503"):
        await _label(tmp_path, teacher, task=task)
    alive = ScriptedTeacher(SCHEMA, _answer)
    assert len((await _label(tmp_path, alive)).labelled) == 20
    assert len(alive.calls) == 1


async def test_a_time_out_halves_the_calls_and_the_texts_in_a_call(tmp_path):
    """Only a 429 slowed labelling down: 8 calls of 32 texts met the same wall again and again."""
    teacher = Picky(lambda texts: len(texts) > 4, TeacherTimeout("late"))
    task = _task(tmp_path, texts_per_call=32, max_concurrency=8)
    done = await _label(tmp_path, teacher, n=600, task=task)
    assert len(done.labelled) == 600
    assert done.left == ()
    late = sum(len(texts) > 4 for texts in teacher.calls)
    assert late < len(teacher.calls) / 3


async def test_a_reply_without_usage_is_billed_by_estimate_and_marked(tmp_path):
    """`--max-usd 0.02` asked all of 300 questions, at a bill of $0.0000, and truly $0.063."""
    teacher = ScriptedTeacher(SCHEMA, _answer, usage=TokenUsage())
    done = await _label(tmp_path, teacher, n=20)
    assert done.estimated == 20
    assert done.usd > 0
    assert done.usage.input_tokens > 20
    most = PRICE.cost(usage_bound(_task(tmp_path))([f"text {i}" for i in range(20)]), NOON).usd
    assert done.usd + done.unconfirmed_usd == most
    again = await _label(tmp_path, teacher, n=20)
    assert (again.estimated, again.usd) == (20, done.usd)
    with pytest.raises(BudgetReached):
        await _label(tmp_path, teacher, n=400, max_usd=2 * most)
    asked = sum(map(len, teacher.calls))
    assert PRICE.cost(usage_bound(_task(tmp_path))(["text 100"] * asked), NOON).usd < 3 * most


async def test_a_filter_that_takes_one_text_in_twelve_does_not_end_the_run(tmp_path):
    """15 of the first 147 are no proof that it is more than one in ten."""
    first = {f"text {i}" for i in np.random.default_rng(0).permutation(600)[:48]}
    teacher = ScriptedTeacher(
        SCHEMA, lambda text: TeacherRejected("filtered") if text in first else _answer(text)
    )
    done = await _label(tmp_path, teacher, n=600, task=_task(tmp_path, max_concurrency=1))
    assert done.rejected == 48


async def test_an_error_without_usage_is_not_free_either(tmp_path):
    """A reply that cannot be read and does not say what it consumed was served all the same."""
    garbled = TeacherRejected("unreadable", usage=TokenUsage())
    done = await _label(tmp_path, ScriptedTeacher(SCHEMA, _answer, faults=[garbled]), n=2)
    assert done.usd > 2 * Decimal(30) / 1_000_000


@pytest.mark.parametrize(
    "fault", [TeacherDenied("401"), TeacherTimeout("late"), KeyboardInterrupt(), None]
)
async def test_whatever_ends_it_early_what_there_is_is_a_random_sample(tmp_path, fault):
    """An end left nothing to work with, and questions went in the order of the file."""
    faults = [None] * 30 + [fault] * 100 if fault is not None else ()
    teacher = ScriptedTeacher(SCHEMA, _answer, faults=faults)
    if isinstance(fault, KeyboardInterrupt):
        teacher = ScriptedTeacher(SCHEMA, _answer, faults=[None] * 30, latency_s=0.001)
    done = []
    run = _label(
        tmp_path, teacher, n=200, ended_early=done.append,
        task=_task(tmp_path, texts_per_call=1, max_concurrency=1),
        max_usd=Decimal("0.002") if fault is None else None,
    )  # fmt: skip
    if isinstance(fault, KeyboardInterrupt):
        job = asyncio.ensure_future(run)
        while len(teacher.calls) < 30:
            await asyncio.sleep(0.001)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    else:
        with pytest.raises((TeacherDenied, TeacherTimeout, BudgetReached)):
            await run
    [part] = done
    n = len(part.labelled)
    assert 20 < n < 100
    pile = _inputs(200)
    assert set(part.labelled.texts) == set(sample_rows(pile, n).texts)
    in_the_first_half = np.isin(pile.texts[:100], part.labelled.texts).sum()
    assert abs(in_the_first_half - n / 2) < 4 * np.sqrt(n / 4)


async def test_a_limit_bounds_all_that_was_paid_and_a_sample_costs_nothing_more(tmp_path):
    """After $0.0126 of 200 rows, a smaller --limit bought other rows and forgot the first bill."""
    task = _task(tmp_path, texts_per_call=1, max_concurrency=1)
    teacher = ScriptedTeacher(SCHEMA, _answer)
    with pytest.raises(BudgetReached):
        await _label(tmp_path, teacher, n=200, task=task, max_usd=Decimal("0.002"))
    paid = len(teacher.calls)
    assert paid > 20
    few = sample_rows(_inputs(200), 20)
    done = await label_inputs(
        few, teacher, task, tmp_path / "replies.sqlite", price=PRICE, repeats=0
    )
    assert len(teacher.calls) == paid
    assert (done.cached, done.asked) == (20, 0)
    each = Decimal(30) / 1_000_000
    assert (done.usd, done.other_usd) == (20 * each, (paid - 20) * each)
