"""Dates that suppliers have published: of a model, of its editions, and of nobody else's."""

from datetime import date

import pytest
from click.testing import CliRunner

from costmodel.money.pricing import now
from costmodel.money.rates import ApiPrice
from costmodel.money.retirements import WARN_DAYS, retirement_of
from router.cli import main

TODAY = date(2026, 11, 29)


@pytest.mark.parametrize(
    ("supplier", "model", "on"),
    [
        ("openai", "gpt-5", date(2026, 12, 11)),
        ("openai", "gpt-5-mini-2025-08-07", date(2026, 12, 11)),
        ("openai", "gpt-4o-2024-11-20", date(2027, 1, 14)),
        ("openai", "gpt-4o-2024-05-13", date(2026, 10, 23)),
        ("anthropic", "claude-sonnet-4-5-20250929", date(2026, 11, 30)),
    ],
)
def test_an_edition_ends_with_its_model_unless_it_has_a_date_of_its_own(supplier, model, on):
    """As the supplier's page lists them."""
    found = retirement_of(supplier, model)
    assert found.on == on
    assert found.source.startswith("https://")


@pytest.mark.parametrize(
    ("supplier", "model"),
    [
        ("openai", "gpt-5.4"),
        ("openai", "gpt-5-image"),
        ("azure", "gpt-5"),
        ("openai", "gpt-4o-2024-05-13-x"),
    ],
)
def test_no_date_is_guessed(supplier, model):
    """Neither from a name that only begins alike, nor for another supplier's schedule."""
    assert retirement_of(supplier, model) is None


def test_words_and_nearness_go_by_the_day():
    """Within 60 days it is time to act; what is over is said to be."""
    end = retirement_of("openai", "gpt-4o")
    assert end.near(TODAY)
    assert "in 46 days" in end.words(TODAY)
    assert "3 days ago" in end.words(date(2027, 1, 17))
    assert not end.near(date(2026, 11, 1))
    assert end.days(date(2026, 11, 15)) == WARN_DAYS


def test_a_price_knows_the_end_of_its_model():
    """By the name that was asked for, where it is the model's own or an edition of it."""
    assert ApiPrice.of("openai:gpt-4o-mini", now()).retirement.on == date(2027, 1, 14)
    assert ApiPrice.of("openai:gpt-5.4", now()).retirement is None


def test_prices_says_it():
    """`raisehand prices` names the day, the page and when it was read."""
    said = CliRunner().invoke(main, ["prices", "openai:gpt-4o-mini"])
    assert said.exit_code == 0, said.output
    assert "ends it on 2027-01-14" in said.output
    assert "deprecations, read 2026-11-29" in said.output


def test_an_agreed_price_may_have_a_date_of_its_own(tmp_path):
    """`retires` of a row under `models`; a supplier may keep a model longer for you."""
    own = tmp_path / "own.yaml"
    own.write_text(
        "models:\n  - {name: 'openai:gpt-4o', usd_per_mtok_input: '2', usd_per_mtok_output: '8',"
        " retires: 2028-01-01, checked: 2026-11-29, source: contract 17}\n"
    )
    said = CliRunner().invoke(main, ["prices", "openai:gpt-4o", "--prices", str(own)])
    assert "ends it on 2028-01-01" in said.output
    assert "contract 17" in said.output
