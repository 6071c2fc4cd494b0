"""Swapping a student under load: nobody fails, nobody is judged by the wrong thresholds."""

from __future__ import annotations

import asyncio
import math
import random

import numpy as np
import pytest

from router.errors import BadSettings
from router.policy import Route
from router.request import Ask
from router.student.batcher import Batcher
from router.student.loaded import Model
from students.labels import LabelSchema
from students.testing import ScriptedStudent


def model(bundle, schema, answer, threshold=0.9):
    """A model that is not started yet."""
    student = ScriptedStudent(schema, answer, delay_s=0.001)
    return Model(bundle, student, (threshold,) * len(schema), Batcher(student))


def ask(i):
    """A request with its own id."""
    return Ask(text="x", request_id=f"r{i}", surface="classify")


async def test_a_swap_under_load_fails_nobody(rig, task):
    """Every request in flight is answered by a whole bundle: its student with its thresholds."""
    made = await rig()
    slot = made.pipeline.slot
    # The new student is never sure by its own threshold: a mix of old and new would show.
    new = model("new", task.schema_, (0.6, 0.4), threshold=0.99)

    async def traffic():
        answers = []
        for i in range(200):
            answers.append(await made.pipeline.answer(ask(i)))
            if i == 100:
                assert slot.swap(new) is None
        return answers

    answers = [a for some in await asyncio.gather(traffic()) for a in some]
    seen = {(a.model.bundle, a.route) for a in answers}
    assert seen == {("bundle000001", Route.STUDENT), ("new", Route.TEACHER)}


async def test_rollback_returns_to_the_bundle_before(rig, task):
    """Rollback is one step and can be undone by another; without one before it is refused."""
    slot = (await rig()).pipeline.slot
    with pytest.raises(BadSettings, match="no earlier"):
        slot.rollback()
    slot.swap(model("new", task.schema_, "calm"))
    slot.rollback()
    assert slot.current.bundle == "bundle000001"
    slot.rollback()
    assert slot.current.bundle == "new"


async def test_a_retired_model_finishes_what_it_accepted(rig, task):
    """The bundle two swaps ago is handed out to be closed, and answers its last texts first."""
    slot = (await rig()).pipeline.slot
    future = slot.current.batcher.submit("help")
    slot.swap(model("second", task.schema_, "calm"))
    retired = slot.swap(model("third", task.schema_, "calm"))
    assert retired.bundle == "bundle000001"
    await retired.batcher.close()
    assert future.result().prediction is not None


async def test_a_canary_gets_its_share_by_the_routers_own_chance(rig, task):
    """As even as independent draws are, whatever ids requests bring: a counter's hash was not."""
    slot = (await rig()).pipeline.slot
    slot._rng = random.Random(7)
    slot.set_canary(model("canary", task.schema_, "calm"), 0.1)
    shares = [sum(slot.pick().bundle == "canary" for _ in range(5_000)) / 5_000 for _ in range(100)]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.002)
    assert np.std(shares) == pytest.approx(math.sqrt(0.1 * 0.9 / 5_000), rel=0.3)


async def test_what_is_asked_for_twice_changes_nothing_the_second_time(rig, task):
    """Operators' tools retry: the way back stays another bundle, and no bundle is there twice."""
    slot = (await rig()).pipeline.slot
    second = model("second", task.schema_, "calm")
    slot.swap(second)
    assert slot.swap(second) is None
    assert (slot.current.bundle, slot.previous.bundle) == ("second", "bundle000001")
    with pytest.raises(BadSettings, match="every request already"):
        slot.set_canary(second, 0.1)
    with pytest.raises(BadSettings, match="loaded already"):
        slot.swap(model("second", task.schema_, "calm"))
    slot.rollback()
    assert (slot.current.bundle, slot.previous.bundle) == ("bundle000001", "second")


@pytest.mark.parametrize("promote", [True, False])
async def test_the_bundle_before_may_be_the_canary(rig, task, promote):
    """It is loaded once; promoted or not, nothing that is still needed is retired."""
    slot = (await rig()).pipeline.slot
    slot.swap(model("second", task.schema_, "calm"))
    before = slot.loaded("bundle000001")
    slot.set_canary(before, 0.5)
    slot.set_canary(before, 0.2)
    assert slot.models == [slot.current, before]
    assert slot.end_canary(promote=promote) is None
    assert {m.bundle for m in slot.models} == {"bundle000001", "second"}
    assert slot.current is (before if promote else slot.loaded("second"))


async def test_a_canary_that_is_swapped_in_is_none_any_more(rig, task):
    """As if it had been promoted; the one two swaps ago is handed out."""
    slot = (await rig()).pipeline.slot
    slot.swap(model("second", task.schema_, "calm"))
    canary = model("third", task.schema_, "calm")
    slot.set_canary(canary, 0.5)
    assert slot.swap(canary).bundle == "bundle000001"
    assert (slot.current, slot.canary, slot.previous.bundle) == (canary, None, "second")


@pytest.mark.parametrize(("promote", "current"), [(True, "canary"), (False, "bundle000001")])
async def test_a_canary_ends_by_promotion_or_not(rig, task, promote, current):
    """Promoted it answers everything, otherwise nothing; what is left over is handed out."""
    slot = (await rig()).pipeline.slot
    slot.set_canary(model("canary", task.schema_, "calm"), 0.5)
    leftover = slot.end_canary(promote=promote)
    assert {slot.pick().bundle for i in range(50)} == {current}
    if leftover is not None:
        await leftover.batcher.close()


async def test_a_bundle_of_another_task_is_refused(rig):
    """Other labels, other task: not into this slot."""
    slot = (await rig()).pipeline.slot
    with pytest.raises(BadSettings, match="other labels"):
        slot.swap(model("other", LabelSchema(("x", "y")), "x"))
