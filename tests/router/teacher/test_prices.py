"""The model that answered is the one that is paid."""

from decimal import Decimal

import pytest

from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, TokenUsage, now
from router.teacher.bill import Bill
from router.teacher.prices import TeacherPrices, is_same_model

USAGE = TokenUsage(1_000_000, 0)
AMOUNTS = PriceSpec(usd_per_mtok_input=Decimal(1), usd_per_mtok_output=Decimal(2))
LISTED = PriceSpec(model="openai:gpt-6-luna")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-6-luna", "gpt-6-luna-2026-05-01", True),
        ("my-llm", "vendor/my-llm", True),
        ("my-llm", "My-LLM", True),
        ("gpt-6", "gpt-6-luna", False),
        ("gpt-6", "gpt-6-pro-most-expensive", False),
        ("llama:latest", "llama", True),
    ],
)
def test_an_edition_is_the_same_model_and_another_size_is_not(one, other, same):
    """Providers answer with the edition they took."""
    assert is_same_model(one, other) is same


def prices(make_task, price, model):
    """Prices of a task whose teacher has that price and model."""
    task = make_task(teacher={"price": price, "model": model})
    return TeacherPrices(task.teacher, price_of(price))


def test_an_amount_is_of_the_tasks_model_by_whatever_name_it_answers(make_task):
    """An endpoint of one's own may call its model as it likes; another model has no price."""
    own = prices(make_task, AMOUNTS, "big")
    assert own.usd(Bill(attempts=1, usage=USAGE, model="/srv/weights/x")) == 1
    assert own.usd(Bill(attempts=1, usage=USAGE, asked="big", model="served-name")) == 1
    assert own.usd(Bill(attempts=1, usage=USAGE, asked="small", model="small")) is None
    assert own.usd(Bill(asked="small")) == 0


def test_a_listed_price_is_looked_up_for_the_model_that_answered(make_task):
    """`openai:gpt-6-luna` prices luna; what answered as another model costs what that one does."""
    listed = prices(make_task, LISTED, "gpt-6-luna")
    luna = listed.usd(Bill(attempts=1, usage=USAGE, asked="gpt-6-luna"))
    assert luna == price_of(LISTED).cost(USAGE, now()).usd
    unknown = Bill(attempts=1, usage=USAGE, asked="gpt-none", model="gpt-none")
    assert listed.usd(unknown) is None
