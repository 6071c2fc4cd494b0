"""Hourly prices: dated, sourced, append-only, never guessed."""

from datetime import date
from decimal import Decimal

import pytest

from costmodel.errors import BadPriceList, UnknownPrice
from costmodel.money.machines import find_machine, read_machines, shipped_machines
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec

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


def _rows(tmp_path, *texts):
    path = tmp_path / "prices.yaml"
    path.write_text("".join(texts))
    return read_machines(path)


NEXT = ROW.replace("1.50", "1.99").replace("since: 2026-01-01", "since: 2026-11-16")
SPOT = ROW.replace("1.50", "0.60") + "  terms: spot\n"


def test_price_changes_on_its_day(tmp_path):
    """A price holds from its day on; before the first row there is none, and not today's."""
    rows = _rows(tmp_path, ROW, NEXT)
    assert find_machine("x:box", date(2026, 11, 15), rows).usd_per_hour == Decimal("1.50")
    assert find_machine("x:box", date(2026, 11, 16), rows).usd_per_hour == Decimal("1.99")
    with pytest.raises(UnknownPrice, match="the first row is for 2026-01-01"):
        find_machine("x:box", date(2025, 12, 31), rows)


def test_every_shipped_row_was_looked_up_within_a_month_of_its_release():
    """Rows that nobody could open again are dropped and not shipped with a mark."""
    newest = max(row.checked for row in shipped_machines())
    assert not [row.reference for row in shipped_machines() if row.stale(newest)]


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


def test_terms_pick_the_row(tmp_path):
    """The same machine has an on-demand and a spot price; on-demand is meant unless asked."""
    rows, day = _rows(tmp_path, ROW, SPOT), date(2026, 11, 24)
    assert find_machine("x:box", day, rows).usd_per_hour == Decimal("1.50")
    assert find_machine("x:box@spot", day, rows).usd_per_hour == Decimal("0.60")
    assert find_machine("x:box", day, rows[1:]).terms == "spot"


def test_a_region_is_asked_for_where_there_are_several(tmp_path):
    """One region is meant by itself; of two the file must say which, with or without terms."""
    here, there = (ROW.replace("1.50", usd) + f"  region: {region}\n"
                   for usd, region in (("1.50", "us-1"), ("1.80", "eu-1")))  # fmt: skip
    rows, day = _rows(tmp_path, here, there, SPOT + "  region: eu-1\n"), date(2026, 11, 24)
    assert find_machine("x:box@eu-1", day, rows).usd_per_hour == Decimal("1.80")
    assert find_machine("x:box@on-demand@us-1", day, rows).usd_per_hour == Decimal("1.50")
    assert find_machine("x:box@spot", day, rows).usd_per_hour == Decimal("0.60")
    with pytest.raises(UnknownPrice, match="a price for each region; use x:box@eu-1, x:box@us-1"):
        find_machine("x:box", day, rows)


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


def test_each_form_of_a_price_says_where_it_comes_from():
    """Words carry the amount and its origin."""
    specs = {
        "given in the file": PriceSpec(usd_per_hour=Decimal("0.8"), requests_per_second=876),
        "(given in the file)": PriceSpec(
            usd_per_mtok_input=Decimal(2), usd_per_mtok_output=Decimal(10)
        ),
        "genai-prices": PriceSpec(model="openai:gpt-4o"),
        "read 2026-11-24 from https://": PriceSpec(machine="aws:c7i.large", requests_per_second=1),
    }
    for origin, spec in specs.items():
        assert origin in price_of(spec).words


def test_unknown_prices_fail_when_the_file_is_loaded():
    """A wrong model name is found at start, not at the first request."""
    with pytest.raises(UnknownPrice, match="openai:gtp-4o"):
        price_of(PriceSpec(model="openai:gtp-4o"))


def test_a_stale_price_warns_from_the_31st_day():
    """A row nobody looked at for 30 days is fine, for 31 it says so wherever it is printed."""
    row = find_machine("aws:c7i.large", date(2026, 11, 24))
    assert "STALE" not in row.words_on(date(2026, 12, 24))
    assert "STALE: not checked for 31 days" in row.words_on(date(2026, 12, 25))
