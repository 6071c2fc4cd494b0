"""Hourly prices: dated, sourced, append-only, never guessed."""

from datetime import date
from decimal import Decimal

import pytest

from costmodel.errors import BadPriceList, UnknownPrice
from costmodel.money.machines import find_machine, read_machines, shipped_machines
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, TokenUsage, now

ROW = """
- name: x:box
  usd_per_hour: "1.50"
  hardware: one box
  since: 2026-01-01
  checked: 2026-01-01
  basis: listed
  source: a page
"""


def test_every_shipped_row_has_a_source_and_is_not_from_the_future():
    """A row without a source is worthless; memory is admitted, and must ask to be checked."""
    for row in shipped_machines():
        assert len(row.source) > 8, row.name
        assert row.since <= row.checked or row.checked >= date(2026, 11, 24), row.name
        if row.basis == "memory":
            assert row.note
        if row.low is not None and row.high is not None:
            assert row.low <= row.usd_per_hour <= row.high


def test_price_changes_on_its_day():
    """Lambda's A100 cost 1.48 until 15 November and 1.99 from the 16th."""
    before = find_machine("lambda:a100-40", date(2026, 11, 15))
    after = find_machine("lambda:a100-40", date(2026, 11, 16))
    assert before.usd_per_hour == Decimal("1.48")
    assert after.usd_per_hour == Decimal("1.99")


def test_a_day_before_the_first_row_has_no_price():
    """The past before the list began is unknown, not today's price."""
    with pytest.raises(UnknownPrice, match="the first row is for 2026-05-07"):
        find_machine("lambda:a100-40", date(2026, 5, 6))


def test_default_machine_of_a_task_is_listed_by_a_source():
    """The default student box rests on a page somebody can open, not on memory."""
    row = find_machine("aws:c7i.large", date(2026, 11, 24))
    assert row.basis == "listed"
    assert row.source.startswith("https://")
    assert row.usd_per_hour == Decimal("0.08925")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("aws:c7i.larg", "near matches: aws:c7i.large"),
        ("nobody:knows", "raisehand prices"),
        ("runpod:h100-sxm", "runpod:h100-sxm@community, runpod:h100-sxm@secure"),
        ("aws:c7i.large@spot", "use aws:c7i.large@on-demand"),
    ],
)
def test_unknown_machine_says_what_to_write(reference, words):
    """One sentence: what was asked, what exists, what to do."""
    with pytest.raises(UnknownPrice) as caught:
        find_machine(reference, date(2026, 11, 24))
    assert reference in str(caught.value)
    assert words in str(caught.value)


def test_terms_pick_the_row():
    """The same machine has an on-demand and a spot price; on-demand is meant unless asked."""
    day = date(2026, 11, 24)
    assert find_machine("crusoe:h100-sxm", day).usd_per_hour == Decimal("3.90")
    assert find_machine("crusoe:h100-sxm@spot", day).usd_per_hour == Decimal("1.60")
    assert find_machine("modal:l4", day).terms == "serverless"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROW + ROW, "x:box has two rows for 2026-01-01"),
        (ROW.replace("1.50", "-1"), "greater than 0"),
        (ROW.replace("  source: a page\n", ""), "source"),
        (ROW + "  bogus: 1\n", "bogus"),
        ("[", "cannot be read"),
        ("a: b", "the file"),
    ],
)
def test_faulty_list_is_one_sentence(tmp_path, text, words):
    """A faulty price list names the row and the fault."""
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(BadPriceList) as caught:
        read_machines(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_ones_own_is_used(tmp_path):
    """Rows given by the caller replace the shipped ones."""
    path = tmp_path / "prices.yaml"
    path.write_text(ROW)
    spec = PriceSpec(machine="x:box", requests_per_second=10)
    price = price_of(spec, machines=read_machines(path))
    assert price.cost(TokenUsage(requests=36_000), now()).usd == Decimal("1.50")
    assert "one box" in price.words


def test_each_form_of_a_price_says_where_it_comes_from():
    """Words carry the amount and its origin."""
    specs = {
        "given in the file": PriceSpec(usd_per_hour=Decimal("0.8"), requests_per_second=876),
        "(given in the file)": PriceSpec(
            usd_per_mtok_input=Decimal(2), usd_per_mtok_output=Decimal(10)
        ),
        "genai-prices": PriceSpec(model="openai:gpt-4o"),
        "read 2026-06-17 from https://": PriceSpec(machine="aws:m7g.large", requests_per_second=1),
    }
    for origin, spec in specs.items():
        assert origin in price_of(spec).words


def test_unknown_prices_fail_when_the_file_is_loaded():
    """A wrong model name is found at start, not at the first request."""
    with pytest.raises(UnknownPrice, match="openai:gtp-4o"):
        price_of(PriceSpec(model="openai:gtp-4o"))


def test_a_stale_price_warns_from_the_91st_day():
    """A row nobody looked at for 90 days is fine, for 91 it says so wherever it is printed."""
    row = find_machine("aws:m7g.large", date(2026, 11, 24))
    assert "STALE" not in row.words_on(date(2026, 9, 15))
    assert "STALE: not checked for 91 days" in row.words_on(date(2026, 9, 16))
    stale = price_of(PriceSpec(machine="huggingface:l4", requests_per_second=1))
    assert "STALE" in stale.words
