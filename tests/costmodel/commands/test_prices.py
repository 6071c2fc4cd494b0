"""The command that shows unit prices."""

import json

import pytest
from click.testing import CliRunner

from costmodel.commands.prices import prices
from costmodel.errors import UnknownPrice


def _run(*words: str) -> str:
    result = CliRunner().invoke(prices, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_shows_names_amounts_and_numbered_sources():
    """Every machine is listed with the page its price was read from."""
    shown = _run()
    assert "aws:c7i.large" in shown
    assert "0.08925" in shown
    assert "[1] " in shown


def test_json_holds_every_field():
    """JSON carries source and dates of each row."""
    rows = json.loads(_run("--json", "h100"))
    assert rows
    assert all(row["source"] and row["checked"] for row in rows)
    assert all("h100" in f"{row['name']} {row['hardware']}".lower() for row in rows)


def test_a_model_shows_list_and_batch_price():
    """A model's price comes from genai-prices, its batch price beside it."""
    shown = _run("openai:gpt-4o-mini")
    assert "$0.15 / $0.60" in shown
    assert "batch price: $0.075 / $0.30" in shown


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("openai:gpt-5.2", ["batch", "flex", "priority", "fast"]),
        ("anthropic:claude-fable-5-2", ["batch", "fast"]),
    ],
)
def test_a_model_shows_its_price_on_all_terms_that_are_known(name, terms):
    """What `processing` may say in a file can be looked up: flex and priority, not batch alone."""
    shown = _run(name).splitlines()
    found = [line.partition(" price: ")[0].split()[-1] for line in shown if " price: " in line]
    assert found == ["list", *terms]


@pytest.mark.parametrize(
    "name", ["azure:gpt-4o", "aws:us.anthropic.claude-sonnet-4-5-20250929-v1:0"]
)
def test_who_rents_machines_may_sell_models_too(name):
    """A model's name decides, as it does in a task file, and not who sells it."""
    assert "per million input / output tokens" in _run(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai:gtp-4o", "near matches: openai:gpt-4o"),
        ("aws:c7j.large", "aws:c7i.large"),
        ("azure:gtp-4o", "machine .*azure:h100.*and no price is known for model .*azure:phi-4"),
        ("aws:c7i.large@never", "has no price with terms 'never'"),
    ],
)
def test_unknown_names_are_helped(name, words):
    """A mistyped model or machine gets near matches."""
    with pytest.raises(UnknownPrice, match=words):
        CliRunner().invoke(prices, [name], catch_exceptions=False)


def test_coming_changes_are_told():
    """A price that will double on a date, or with the hour, is shown with its first hour."""
    shown = _run("deepseek:deepseek-flash")
    assert "$0.15 / $0.60" in shown
    assert "$0.30 / $1.20" in shown
    assert "from 20" in shown


def test_names_are_found_in_any_case():
    """L4 and l4 are the same card."""
    assert json.loads(_run("--json", "L4")) == json.loads(_run("--json", "l4"))
    assert "aws:g6.xlarge" in _run("l4")
