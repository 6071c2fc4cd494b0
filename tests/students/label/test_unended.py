"""A call whose end nobody knows keeps its idempotency key, and is one call on the bill."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from costmodel.money.pricing import NO_USAGE, TokenPrice, TokenUsage
from students.errors import (
    TeacherRejected,
    TeacherStillAnswering,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.labels import LabelSchema
from students.task import Task
from students.teachers.idempotency import KEYS, MEMORY
from students.testing import ScriptedTeacher
from tests.waiting import PATIENCE_S

SCHEMA = LabelSchema(("calm", "urgent"))
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
PRICE = TokenPrice(Decimal(1), Decimal(10), Decimal("0.1"), "$1 in, $10 out")
USAGE = TokenUsage(10, 0)
BILL = 10 / Decimal(10**6)
"""Of one text."""


class KeyedTeacher(ScriptedTeacher):
    """Remembers under which key each call came; the first that it `holds` never return."""

    def __init__(self, *faults, holds=0):
        super().__init__(SCHEMA, (0.9, 0.1), faults=faults, usage=USAGE)
        self.keys = []
        self._holds = holds

    async def label(self, texts, *, timeout_s=None):
        """Answer, unless it is to be held."""
        keys = KEYS.get()
        self.keys.append(keys and keys.key("", b""))
        if len(self.keys) <= self._holds:
            self.calls.append(tuple(texts))
            await asyncio.Event().wait()
        return await super().label(texts, timeout_s=timeout_s)


def _label(folder, teacher, n=1, header="Idempotency-Key", at=NOON, **options):
    section = {
        "mode": "classify", "base_url": "http://127.0.0.1:1", "model": "m", "texts_per_call": 4,
        "max_concurrency": 4, "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 10},
        "idempotency_header": header,
    }  # fmt: skip
    task = Task.model_validate(
        {"name": "t", "labels": list(SCHEMA.names), "teacher": section,
         "inputs": {"path": folder / "none.csv"}, "work_dir": folder}
    )  # fmt: skip
    passed = [0.0]

    async def sleep(seconds):
        passed[0] += seconds
        await asyncio.sleep(0)

    inputs = make_inputs([f"text {i}" for i in range(n)], np.arange(n, dtype=np.int32) % 2)
    return label_inputs(
        inputs, teacher, task, folder / "replies.sqlite", price=PRICE, clock=lambda: at,
        **{"repeats": 0, "timer": lambda: passed[0], "sleep": sleep, **options},
    )  # fmt: skip


LOST = TeacherUnavailable("cut")


@pytest.mark.parametrize(
    "faults",
    [
        (TeacherTimeout("late"), LOST),
        (LOST, TeacherThrottled("429", 0.0)),
        (LOST, TeacherUnavailable("503", usage=NO_USAGE)),
        [TeacherStillAnswering("409")] * 12,
    ],
)
async def test_attempts_under_one_key_are_one_call(tmp_path, faults):
    """Until an answer comes nobody knows what was billed; then it is that answer, once."""
    teacher = KeyedTeacher(*faults)
    done = await _label(tmp_path, teacher)
    assert len(teacher.keys) == len(faults) + 1
    assert len(set(teacher.keys)) == 1
    assert (done.usd, done.unconfirmed_usd) == (BILL, 0)
    again = await _label(tmp_path, KeyedTeacher())
    assert (again.usd, again.unconfirmed_usd) == (BILL, 0)


async def test_without_a_header_each_attempt_is_a_call_of_its_own(tmp_path):
    """A teacher that takes no keys may have billed what was lost."""
    teacher = KeyedTeacher(LOST)
    done = await _label(tmp_path, teacher, header=None)
    assert teacher.keys == [None, None]
    assert done.usd == BILL
    assert done.unconfirmed_usd > 0


async def test_a_failure_that_the_teacher_may_keep_gets_another_key(tmp_path):
    """Under the same key a vendor may repeat its 500 for a day."""
    error = TeacherUnavailable("500", usage=NO_USAGE)
    error.kept = True
    teacher = KeyedTeacher(error, error)
    done = await _label(tmp_path, teacher)
    assert len(set(teacher.keys)) == 3
    assert (done.usd, done.unconfirmed_usd) == (BILL, 0)


async def test_a_lost_call_that_is_refused_in_the_end_may_have_been_billed(tmp_path):
    """The refusal says nothing of the attempt before it."""
    teacher = KeyedTeacher(None, LOST, TeacherRejected("400"))
    done = await _label(tmp_path, teacher, n=5)
    assert done.rejected == 1
    assert done.unconfirmed_usd > 0
    assert len(set(teacher.keys)) == 2


async def _cut_off(folder, **options):
    """Label 16 texts, end while the first two calls hang; return their texts and keys."""
    teacher = KeyedTeacher(holds=2)
    run = asyncio.create_task(_label(folder, teacher, 16, **options))
    async with asyncio.timeout(PATIENCE_S):
        while len(teacher.keys) < 3:
            await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    return list(zip(teacher.calls, teacher.keys, strict=True))[:2]


@pytest.mark.parametrize("ends", [1, 3])
async def test_a_call_that_was_cut_off_is_made_again_as_it_was(tmp_path, ends):
    """The same texts under the same key, before any other, however often the run ends."""
    first = await _cut_off(tmp_path)
    for _ in range(ends - 1):
        assert await _cut_off(tmp_path) == first
    teacher = KeyedTeacher()
    done = await _label(tmp_path, teacher, 20)
    assert list(zip(teacher.calls, teacher.keys, strict=True))[:2] == first
    assert (len(done.labelled), done.usd, done.unconfirmed_usd) == (20, 20 * BILL, 0)


@pytest.mark.parametrize(
    "change",
    [{"at": NOON + MEMORY + timedelta(seconds=1)}, {"header": None}],
    ids=["the teacher has forgotten", "it takes no keys"],
)
async def test_where_a_key_says_nothing_a_lost_call_may_have_been_billed(tmp_path, change):
    """After a day, or of a teacher without keys, what was cut off is another call's question."""
    header = {key: change[key] for key in change if key == "header"}
    first = await _cut_off(tmp_path, **header)
    teacher = KeyedTeacher()
    done = await _label(tmp_path, teacher, 16, **change)
    assert not {key for _, key in first} & {*teacher.keys} - {None}
    assert len(done.labelled) == 16
    assert done.usd == 16 * BILL
    assert done.unconfirmed_usd > 0


async def test_what_was_cut_off_leaves_its_money_to_the_same_call(tmp_path):
    """A limit that one run just keeps, it keeps with an end in between."""
    limit = Decimal("0.0003")
    whole = tmp_path / "whole"
    whole.mkdir()
    await _label(whole, KeyedTeacher(), 16, max_usd=limit)
    await _cut_off(tmp_path, max_usd=limit)
    done = await _label(tmp_path, KeyedTeacher(), 16, max_usd=limit)
    assert done.usd == 16 * BILL
