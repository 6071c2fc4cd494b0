"""Prices of one's own win, with their source; currency and tax come on top; old ones are said."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from costmodel.bill.simulated import prices_of
from costmodel.commands.whatif import whatif
from costmodel.errors import BadPriceList, UnknownPrice
from costmodel.inputs.scenario import Scenario, load
from costmodel.money import snapshot
from costmodel.money.machines import shipped_machines
from costmodel.money.pricebook import old_prices, price_of
from costmodel.money.pricelist import PriceList, read_prices
from costmodel.money.pricing import PriceSpec, TokenUsage, now

AT = datetime(2026, 11, 29, tzinfo=UTC)
BURST = Path(__file__).parents[3] / "examples" / "scenarios" / "burst.yaml"
OWN = """
machines:
  - {name: "aws:c7i.large", terms: reserved-1y, region: eu-west-1, usd_per_hour: "0.056",
     hardware: "2 vCPU", since: 2026-11-01, checked: 2026-11-28, basis: listed, source: contract}
models:
  - {name: "openai:gpt-4o", usd_per_mtok_input: "2", usd_per_mtok_output: "8",
     checked: 2026-11-28, source: contract 17}
discounts:
  - {of: "openai:", share: "0.10", source: committed spend}
  - {of: "openai:gpt-6", share: "0.25", source: committed spend}
currency: {code: EUR, per_usd: "0.9", dated: 2026-11-28, source: ECB}
tax: {name: VAT, rate: "0.2"}
"""
MONTH = TokenUsage(1_000_000, 100_000, requests=1000)


@pytest.fixture
def own(tmp_path) -> Path:
    """A price list with one of everything."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def test_agreed_prices_win_and_say_where_they_are_from(own):
    """A model's contract replaces its public price; of discounts the longest name wins."""
    told = read_prices(own)
    agreed = price_of(PriceSpec(model="openai:gpt-4o"), at=AT, own=told)
    assert agreed.cost(MONTH, AT).usd == Decimal("2.8")
    assert "contract 17, 2026-11-28" in agreed.words
    for model, left in (("openai:gpt-4o-mini", "0.9"), ("openai:gpt-6-luna", "0.75")):
        public = price_of(PriceSpec(model=model), at=AT)
        mine = price_of(PriceSpec(model=model), at=AT, own=told)
        usage = TokenUsage(400_000, 1_000, 100_000, cache_write_tokens=50_000)
        assert mine.cost(usage, AT).usd == public.cost(usage, AT).usd * Decimal(left)
        assert mine.batch().cost(usage, AT).usd == public.batch().cost(usage, AT).usd * Decimal(
            left
        )


def test_own_machines_join_the_shipped_ones(own):
    """Reserved terms in a region are found by name; the shipped on-demand price stays."""
    told = read_prices(own)
    spec = PriceSpec(machine="aws:c7i.large@reserved-1y", requests_per_second=10)
    assert price_of(spec, at=AT, own=told).usd_per_hour == Decimal("0.056")
    shipped = PriceSpec(machine="aws:c7i.large", requests_per_second=10)
    assert price_of(shipped, at=AT, own=told) == price_of(shipped, at=AT)
    with pytest.raises(UnknownPrice):
        price_of(spec, at=AT)


def test_the_bill_comes_in_ones_own_currency_with_tax(own, plain_task):
    """Both modes print each rail as it is paid: 0.9 euro a dollar and a fifth on top."""
    runs = {
        "scenario": [str(BURST), "--set", "days=0.01"],
        "task": ["--task", str(plain_task[1]), "--set", "evaluation.n=2600",
                 "--set", "evaluation.escalated=290", "--set", "usage.input_tokens=300"],
    }  # fmt: skip
    for name, words in runs.items():
        args = [*words, "--prices", str(own)]
        got = json.loads(CliRunner().invoke(whatif, [*args, "--json"]).stdout)
        rails = got["rails"] if name == "scenario" else got["projection"]["rails"]
        for rail in rails:
            paid = got["as_paid"]["per_month"][rail["name"]]
            assert paid == pytest.approx(rail["usd_per_month"] * 0.9 * 1.2, abs=0.02)
        shown = CliRunner().invoke(whatif, [*args, "--markdown"]).stdout
        assert "As paid: EUR at 0.9 a dollar (ECB, 2026-11-28), VAT 20.0% included" in shown


def test_a_scenario_names_its_price_list_beside_it(own):
    """`prices:` in a file is relative to the file, as every path in it."""
    path = own.with_name("scenario.yaml")
    text = BURST.read_text().replace("name: burst", "prices: own.yaml\nname: burst")
    path.write_text(text)
    assert load(path).prices == read_prices(own)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a price list has machines"),
        ("modles: []", "modles"),
        (OWN.replace('rate: "0.2"', 'rate: "20"'), "tax.rate"),
        (OWN.replace('per_usd: "0.9"', 'per_usd: "0"'), "currency.per_usd"),
        (OWN.replace('"0.10"', '"1.5"'), "discounts.0.share"),
        ("models: [{name: a, usd_per_mtok_input: 1, usd_per_mtok_output: 1}]", "checked"),
        ("]", "cannot be read"),
    ],
)
def test_a_faulty_list_is_one_sentence(tmp_path, text, words):
    """The row, the field and what is wrong with it."""
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(BadPriceList) as caught:
        read_prices(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_start_is_priced_as_of_today():
    """The default day is this one, not the day the program was written."""
    assert Scenario.model_validate({"name": "x", "workload": {"per_second": 1}}).start.date() == (
        now().date()
    )


def test_the_release_we_were_tested_with_has_a_date():
    """The public prices' age can be told; words carry the day."""
    assert snapshot.snapshot_warning(max(snapshot.RELEASED.values())) is None
    assert "of 2026-" in price_of(PriceSpec(model="openai:gpt-4o")).words


def test_prices_older_than_thirty_days_are_said(monkeypatch):
    """An old snapshot, an old row and an unknown release each give one sentence."""
    model = price_of(PriceSpec(model="openai:gpt-4o"), at=AT)
    box = price_of(PriceSpec(machine="aws:c7i.large", requests_per_second=1), at=AT)
    released = max(snapshot.RELEASED.values())
    assert old_prices((model, box), AT.date()) == ()
    later = old_prices((model, model, box), date(2027, 1, 1))
    assert len(later) == 2
    assert f"{(date(2027, 1, 1) - released).days} days old" in later[0]
    assert "nobody looked up this price for 38 days" in later[1]
    monkeypatch.setattr(snapshot, "RELEASED", {})
    assert "nobody knows how old" in old_prices((model,), AT.date())[0]


def test_what_is_old_is_said_on_the_bill(monkeypatch):
    """The warning reaches whoever reads the answer of a scenario."""
    monkeypatch.setattr(snapshot, "RELEASED", {})
    example = load(BURST.with_name("ten-million-a-day.yaml"))
    assert any("how old" in one for one in prices_of(example).warnings)


def test_no_list_is_the_shipped_one():
    """Without a list of one's own nothing changes."""
    assert PriceList().all_machines == shipped_machines()
    assert PriceList().paid_in is None
