"""What a public API charges: genai-prices, resolved once, then plain Decimal arithmetic.

`calc_price` looks the model up on every call (about 100 µs). Here the model is found when the
price is loaded, so a name nobody knows fails at start and not at the first request, and a request
costs a few microseconds. The amounts are exactly those of `calc_price`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Self

from costmodel.errors import UnknownPrice
from costmodel.money.pricing import MILLION, Cost, Processing, TokenUsage, amount
from costmodel.money.retirements import Retirement, retirement_of
from costmodel.money.snapshot import RELEASED, version_words

THOUSAND = Decimal(1000)
ZERO, ONE = Decimal(0), Decimal(1)
Times = tuple[Decimal, Decimal]
STRICTEST_CACHE = 4096
"""Tokens of a prefix that every supplier known to us would cache."""
_LEAST_CACHED = {"openai": 1024, "azure": 1024, "deepseek": 64}
"""platform.openai.com/docs/guides/prompt-caching and api-docs.deepseek.com/guides/kv_cache.
Anthropic and Google have 1,024 to 4,096 by model: the strictest is taken for all others."""
_TERMS: Mapping[Processing, tuple[Mapping[str, str], ...]] = {
    "batch": ({"processing": "batch"},),
    "flex": ({"service_tier": "flex"},),
    "priority": ({"service_tier": "priority"},),
    "fast": ({"service_tier": "fast"}, {"speed": "fast"}),
    "eu": ({"route": "mistral/eu"},),
}
"""How genai-prices names what a file calls `processing`."""


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per million tokens; above a tier's start the WHOLE request costs its price."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def scaled(self, times: Decimal) -> Rate:
        """The rate times a factor."""
        if times == ONE:
            return self
        return Rate(self.base * times, tuple((start, usd * times) for start, usd in self.tiers))

    def at(self, input_tokens: int) -> Decimal:
        """The price of a request that reads this many tokens."""
        price = self.base
        for start, above in self.tiers:
            if input_tokens > start:
                price = above
        return price


@dataclass(frozen=True, slots=True)
class UnitRates:
    """One API's unit prices at one moment."""

    input: Rate
    output: Rate
    cached_input: Rate
    """Of tokens read from a cache; the input rate where the API has no cheaper one."""
    cache_write: Rate
    """Of tokens written to a cache; the input rate where the API has none for it."""
    usd_per_request: Decimal
    words: str

    @property
    def starts(self) -> tuple[int, ...]:
        """Input sizes above which some token costs another price."""
        rates = (self.input, self.output, self.cached_input, self.cache_write)
        return tuple(sorted({start for rate in rates for start, _ in rate.tiers}))

    def usd(self, usage: TokenUsage) -> Decimal:
        """Price `usage`; in a sum of many requests each one is in the tier of its own size.

        Without sizes all of a sum's requests are as long as the mean one. What passes a cache is
        the prompt's fixed beginning, equally long in every request.
        """
        size = usage.input_tokens
        if usage.requests > 1:
            size = -(-size // usage.requests)
        paid = usage.requests * self.usd_per_request
        if usage.requests < 2 or usage.sizes is None or not self.starts:
            return self._tokens(usage, size, Decimal(1), Decimal(1), Decimal(1)) + paid
        parts = usage.sizes.parts(usage.input_tokens / usage.requests, self.starts)
        return paid + sum(
            (self._tokens(usage, p.above + 1, p.read, p.written, p.requests) for p in parts), ZERO
        )

    def _tokens(
        self, usage: TokenUsage, size: int, read: Decimal, written: Decimal, requests: Decimal
    ) -> Decimal:
        """US dollars of a share of the tokens, at the tier of requests of this size."""
        cached = usage.cached_input_tokens * requests
        kept = usage.cache_write_tokens * requests
        tokens = (
            (usage.input_tokens * read - cached - kept) * self.input.at(size)
            + cached * self.cached_input.at(size)
            + kept * self.cache_write.at(size)
            + usage.output_tokens * written * self.output.at(size)
        )
        return tokens / MILLION


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """A public API price, by moment: some change on a date, some with the hour of the day."""

    name: str
    as_of: datetime
    """The moment that `words` speaks of."""
    processing: Processing | None
    """None for an ordinary call."""
    _provider: Any = field(repr=False)
    _info: Any = field(repr=False)
    _known: dict[int, UnitRates] = field(default_factory=dict, repr=False, compare=False)
    times: Times = (ONE, ONE)
    """Factors on the public input and output price: caches, tiers and batch move along."""

    @classmethod
    def of(cls, reference: str, at: datetime) -> Self:
        """Find `provider:model` as genai-prices names it.

        Raises:
            UnknownPrice: nobody knows it, or knows it without a price for tokens.
        """
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
        provider_id, _, model = reference.partition(":")
        known = {provider.id for provider in snapshot.providers}
        if provider_id not in known:
            provider_id, model = "", reference
        try:
            provider, info = snapshot.find_provider_model(model, None, provider_id or None, None)
        except LookupError:
            raise UnknownPrice(_no_such_model(reference, provider_id, snapshot)) from None
        name = f"{provider.id}:{info.id}"
        matched = "" if info.id == model.lower() else f", found by the rule for {name}"
        price = cls(f"{provider.id}:{model}{matched}", at, None, provider, info)
        rates = price.rates(at)
        if not rates.output.base and not rates.input.base and "free" not in info.id:
            raise UnknownPrice(
                f"genai-prices knows {reference!r} but no price for its tokens; give "
                "usd_per_mtok_input and usd_per_mtok_output in the file"
            )
        return price

    @property
    def ending(self) -> bool:
        """Whether the supplier has announced the model's end, with or without a date."""
        return bool(self._info.deprecated) or self.retirement is not None

    @property
    def retirement(self) -> Retirement | None:
        """The date of it, where it is known; genai-prices knows none."""
        asked = self.name.partition(",")[0].partition(":")[2]
        return retirement_of(self._provider.id, asked)

    @property
    def words(self) -> str:
        """Unit prices, source and day, for people."""
        return f"{self.rates(self.as_of).words}, as of {self.as_of:%Y-%m-%d}"

    @property
    def checked(self) -> date | None:
        """The day the release came out that the price is from."""
        from genai_prices import __version__

        return RELEASED.get(__version__)

    @property
    def changes(self) -> bool:
        """Whether the price depends on the date or the hour."""
        return isinstance(self._info.prices, list)

    def rates(self, at: datetime) -> UnitRates:
        """The unit prices at a moment."""
        if self.processing is not None:
            context = dict(self._terms(self.processing) or {})
            prices = self._info.get_prices(at, context)
            return _unit_rates(prices, self.name, self.processing, self.times)
        prices = self._info.get_prices(at)
        rates = self._known.get(id(prices))
        if rates is None:
            rates = _unit_rates(prices, self.name, None, self.times)
            self._known[id(prices)] = rates
        return rates

    def cost(self, usage: TokenUsage, at: datetime) -> Cost:
        """Price `usage` at the moment `at`; tiers, cached input and dated changes included."""
        rates = self.rates(at)
        return Cost(rates.usd(usage), rates.words)

    def batch(self) -> ApiPrice | None:
        """The provider's deferred price of the same model, where genai-prices knows one."""
        return self.on("batch")

    def on(self, processing: Processing) -> ApiPrice | None:
        """The same model on other terms, where genai-prices knows them."""
        if self._terms(processing) is None:
            return None
        return replace(self, processing=processing, _known={})

    @property
    def variants(self) -> tuple[ApiPrice, ...]:
        """The same model on each of the other terms that genai-prices knows."""
        return tuple(price for name in _TERMS if (price := self.on(name)))

    def processed(self, processing: Processing | None) -> ApiPrice:
        """The same model on the terms that a file asks for.

        Raises:
            UnknownPrice: nobody knows these terms of it.
        """
        if processing is None:
            return self
        price = self.on(processing)
        if price is None:
            known = [name for name in _TERMS if self._terms(name)]
            raise UnknownPrice(
                f"no {processing} price is known for {self.name}; genai-prices knows "
                f"{', '.join(known) or 'its ordinary price only'}"
            )
        return price

    @property
    def least_cached_prefix(self) -> int:
        """Tokens that a prompt's beginning must have before this supplier caches it."""
        return _LEAST_CACHED.get(self._provider.id, STRICTEST_CACHE)

    def _terms(self, processing: Processing) -> Mapping[str, str] | None:
        """How genai-prices names these terms of this model on the day that is priced."""
        if not any(self._info is model for model in self._provider.models):
            return None
        for variant in self._info.price_variants or ():
            active = variant.constraint is None or variant.constraint.active(self.as_of)
            if active and variant.when in _TERMS[processing]:
                return dict(variant.when)
        return None


def _unit_rates(prices: Any, name: str, processing: str | None, times: Times) -> UnitRates:
    read, wrote = _rate(prices.input_mtok), _rate(prices.output_mtok)
    cached = _rate(prices.cache_read_mtok) if prices.cache_read_mtok is not None else read
    kept = _rate(prices.cache_write_mtok) if prices.cache_write_mtok is not None else read
    read, cached, kept = (rate.scaled(times[0]) for rate in (read, cached, kept))
    wrote = wrote.scaled(times[1])
    per_request = (prices.requests_kcount or ZERO) / THOUSAND
    parts = [f"{amount(read.base)} / {amount(wrote.base)} per million input / output tokens"]
    if cached != read:
        parts.append(f"cached input {amount(cached.base)}")
    if kept != read:
        parts.append(f"cache writes {amount(kept.base)}")
    if per_request:
        parts.append(f"{amount(per_request)} per request")
    for (start, above), (_, out) in zip(read.tiers, wrote.tiers, strict=False):
        parts.append(f"above {start:,} input tokens {amount(above)} / {amount(out)}")
    if times != (ONE, ONE):
        parts.append(f"which is {times[0]:.4g} / {times[1]:.4g} of the public price")
    kind = f"{processing} price" if processing else "list price"
    words = f"{name} {kind}: {', '.join(parts)} ({version_words()})"
    return UnitRates(read, wrote, cached, kept, per_request, words)


def _rate(value: Any) -> Rate:
    if value is None:
        return Rate(ZERO)
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))


def _no_such_model(reference: str, provider_id: str, snapshot: Any) -> str:
    names = [
        f"{provider.id}:{model.id}"
        for provider in snapshot.providers
        if not provider_id or provider.id == provider_id
        for model in provider.models
    ]
    near = get_close_matches(reference, names, n=3, cutoff=0.6)
    hint = f"; near matches: {', '.join(near)}" if near else ""
    return (
        f"no price is known for model {reference!r}{hint}; write `provider:model` as genai-prices "
        "names it, or give usd_per_mtok_input and usd_per_mtok_output in the file"
    )
