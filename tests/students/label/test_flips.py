"""The option-order flip rate is measured, billed and kept within the budget."""

from decimal import Decimal

import pytest

from costmodel.money.pricing import TokenPrice, TokenUsage
from students.errors import BudgetReached
from students.label.flips import measures_flips, order_flips
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.task import Task
from students.testing import ScriptedTeacher

PRICE = TokenPrice(Decimal(1), Decimal(0), Decimal(0), "$1")
EACH = Decimal(20) / 1_000_000


def _task(tmp_path, **teacher):
    section = {
        "base_url": "http://h",
        "model": "m",
        "prompt": {"system": "{labels}", "user": "{text}"},
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 0},
        **teacher,
    }
    return Task.model_validate(
        {
            "name": "t",
            "labels": ["calm", "urgent"],
            "teacher": section,
            "inputs": {"path": tmp_path / "none.csv"},
        }
    )


def _teacher(task, backwards):
    """Every fourth text gets whatever option stands first."""

    def answer(text):
        i = int(text.split()[1])
        if i % 4 == 0:
            return "urgent" if backwards else "calm"
        return ("calm", "urgent")[i % 2]

    usage = TokenUsage(input_tokens=20)
    return ScriptedTeacher(task.schema_, answer, usage=usage, revision=str(backwards))


async def _measure(tmp_path, task, n=100, max_usd=None):
    inputs = make_inputs([f"text {i}" for i in range(100)])
    path = tmp_path / "replies.sqlite"
    labelling = await label_inputs(
        inputs, _teacher(task, False), task, path, price=PRICE, repeats=0
    )
    return await order_flips(
        inputs, labelling, task, path, n=n, price=PRICE, max_usd=max_usd, make=_teacher
    )


async def test_flips_are_counted_and_billed(tmp_path):
    """One text in four flips; asked forward already, only the reversed half is paid for."""
    flips = await _measure(tmp_path, _task(tmp_path, option_orders="one"))
    assert (flips.n, flips.flipped) == (100, 25)
    assert flips.usd == 100 * EACH
    assert flips.usage.requests == 100


async def test_averaged_labels_are_asked_in_each_order(tmp_path):
    """Where labels average both orders, each order is asked on its own."""
    flips = await _measure(tmp_path, _task(tmp_path), n=40)
    assert flips.n == 40
    assert flips.usd == 80 * EACH


async def test_the_budget_covers_labels_and_flips_together(tmp_path):
    """What the labels cost is taken off before a reversed question is asked."""
    with pytest.raises(BudgetReached):
        await _measure(tmp_path, _task(tmp_path), max_usd=101 * EACH)


def test_only_a_listed_prompt_can_be_reversed(tmp_path):
    """Without {labels}, or in another mode, there is nothing to measure."""
    assert measures_flips(_task(tmp_path))
    assert not measures_flips(_task(tmp_path, prompt={"user": "{text}"}))
    assert not measures_flips(_task(tmp_path, mode="decisions"))
