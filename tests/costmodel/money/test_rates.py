"""API prices: exactly those of genai-prices, found once, dated."""

import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from costmodel.errors import UnknownPrice
from costmodel.money.pricing import TokenUsage
from costmodel.money.rates import ApiPrice

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
USAGES = [
    TokenUsage(300, 10),
    TokenUsage(0, 0),
    TokenUsage(1_000, 100, 800),
    TokenUsage(199_999, 1_000),
    TokenUsage(200_000, 1_000),
    TokenUsage(200_001, 1_000, 100_000),
    TokenUsage(272_000, 7),
    TokenUsage(272_001, 7),
    TokenUsage(900_000, 3, 1),
]
NAMED = [
    "openai:gpt-4o",
    "openai:gpt-4o-mini",
    "openai:gpt-5-nano",
    "openai:gpt-6-luna",
    "anthropic:claude-sonnet-5-5",
    "anthropic:claude-haiku-5-5",
    "google:gemini-2.5-pro",
    "google:gemini-4-argon",
    "deepseek:deepseek-flash",
]


def _oracle(reference: str, usage: TokenUsage, at: datetime, **context: str) -> Decimal:
    provider, model = reference.split(":", 1)
    return calc_price(
        Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context=context or None,
    ).total_price


def _free_or_unknown(reference: str) -> bool:
    try:
        return _oracle(reference, TokenUsage(5, 5), AT) == 0
    except LookupError:
        return True


@pytest.mark.parametrize("reference", NAMED)
@pytest.mark.parametrize("usage", USAGES, ids=lambda u: f"{u.input_tokens}-{u.cached_input_tokens}")
def test_amounts_equal_genai_prices_to_the_last_digit(reference, usage):
    """Plain, cached and long-context requests cost exactly what calc_price says."""
    assert ApiPrice.of(reference, AT).cost(usage, AT).usd == _oracle(reference, usage, AT)


def test_every_model_of_the_price_list_agrees():
    """300 models drawn from all of genai-prices agree on a random usage, tiers included."""
    rng = random.Random(7)
    models = [f"{p.id}:{m.id}" for p in get_snapshot().providers for m in p.models]
    checked = 0
    for reference in rng.sample(models, 300):
        usage = TokenUsage(n := rng.randint(1, 400_000), rng.randint(1, 9_000), rng.randint(0, n))
        try:
            price = ApiPrice.of(reference, AT)
        except UnknownPrice:
            assert _free_or_unknown(reference)
            continue
        checked += 1
        assert price.cost(usage, AT).usd == _oracle(reference, usage, AT), reference
    assert checked > 200


@pytest.mark.parametrize(
    ("reference", "before", "after", "factor"),
    [
        ("google:gemini-4-argon", datetime(2026, 11, 30, 23, 59), datetime(2026, 12, 1), 2),
        ("deepseek:deepseek-flash", datetime(2026, 11, 24, 0, 59), datetime(2026, 11, 24, 1), 2),
    ],
)
def test_price_changes_on_its_date_and_hour(reference, before, after, factor):
    """The minute before a change pays the old price, the minute of it the new one."""
    price = ApiPrice.of(reference, AT)
    old = price.cost(TokenUsage(1_000, 100), before.replace(tzinfo=UTC)).usd
    new = price.cost(TokenUsage(1_000, 100), after.replace(tzinfo=UTC)).usd
    assert price.changes
    assert new == factor * old


def test_published_test_vector():
    """claude-sonnet-5-5: 1,000 input of which 800 cached, 100 output cost 0.00148 dollars."""
    price = ApiPrice.of("anthropic:claude-sonnet-5-5", AT)
    assert price.cost(TokenUsage(1_000, 100, 800), AT).usd == Decimal("0.00148")


def test_a_sum_over_many_requests_is_not_one_long_request():
    """10,000 small requests stay below the long-context tier, however many tokens they sum to."""
    price = ApiPrice.of("openai:gpt-6-luna", AT)
    one = price.cost(TokenUsage(300, 10), AT).usd
    many = price.cost(TokenUsage(3_000_000, 100_000, requests=10_000), AT).usd
    assert many == 10_000 * one


@pytest.mark.parametrize("reference", ["openai:gpt-4o-mini", "openai:gpt-6-luna"])
def test_batch_price_equals_genai_prices(reference):
    """The deferred price is genai-prices' own variant, not a guessed half."""
    batch = ApiPrice.of(reference, AT).batch()
    assert batch is not None
    for usage in USAGES[:4]:
        expected = _oracle(reference, usage, AT, processing="batch")
        assert batch.cost(usage, AT).usd == expected
    assert "batch price" in batch.words


def test_no_batch_price_is_none():
    """A model without a known batch price has none, rather than an assumed discount."""
    assert ApiPrice.of("deepseek:deepseek-flash", AT).batch() is None


@pytest.mark.parametrize(
    ("reference", "near"), [("openai:gtp-4o", "openai:gpt-4o"), ("anthropic:claude-sonet-5-5", "")]
)
def test_unknown_model_names_near_matches_and_what_to_do(reference, near):
    """A typing mistake fails when the file is loaded, with the likely name."""
    with pytest.raises(UnknownPrice, match="usd_per_mtok_input") as caught:
        ApiPrice.of(reference, AT)
    assert reference in str(caught.value)
    assert near in str(caught.value)


def test_a_model_found_by_rule_says_so():
    """genai-prices matches new names by their beginning: the page shows which model was priced."""
    words = ApiPrice.of("openai:gpt-4o-mini-2024-07-18", AT).words
    assert "found by the rule for openai:gpt-4o-mini" in words
