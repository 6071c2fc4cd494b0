"""What a public API charges: genai-prices, resolved once, then plain Decimal arithmetic.

`calc_price` looks the model up on every call (about 100 µs). Here the model is found when the
price is loaded, so a name nobody knows fails at start and not at the first request, and a request
costs a few microseconds. The amounts are exactly those of `calc_price`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Self

from costmodel.errors import UnknownPrice
from costmodel.money.pricing import MILLION, Cost, TokenUsage, amount

THOUSAND = Decimal(1000)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per million tokens; above a tier's start the WHOLE request costs its price."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

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
    usd_per_request: Decimal
    words: str

    def usd(self, usage: TokenUsage) -> Decimal:
        """Price `usage`. For a sum over many requests the tier is that of the mean request."""
        size = usage.input_tokens
        if usage.requests > 1:
            size = -(-size // usage.requests)
        fresh = usage.input_tokens - usage.cached_input_tokens
        tokens = (
            fresh * self.input.at(size)
            + usage.cached_input_tokens * self.cached_input.at(size)
            + usage.output_tokens * self.output.at(size)
        )
        return tokens / MILLION + usage.requests * self.usd_per_request


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """A public API price, by moment: some change on a date, some with the hour of the day."""

    name: str
    as_of: datetime
    """The moment that `words` speaks of."""
    processing: str | None
    """None for an ordinary call, `batch` for the provider's deferred queue."""
    _provider: Any = field(repr=False)
    _info: Any = field(repr=False)
    _known: dict[int, UnitRates] = field(default_factory=dict, repr=False, compare=False)

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
    def words(self) -> str:
        """Unit prices, source and day, for people."""
        return f"{self.rates(self.as_of).words}, as of {self.as_of:%Y-%m-%d}"

    @property
    def changes(self) -> bool:
        """Whether the price depends on the date or the hour."""
        return isinstance(self._info.prices, list)

    def rates(self, at: datetime) -> UnitRates:
        """The unit prices at a moment."""
        if self.processing is not None:
            context = {"processing": self.processing}
            return _unit_rates(self._info.get_prices(at, context), self.name, self.processing)
        prices = self._info.get_prices(at)
        rates = self._known.get(id(prices))
        if rates is None:
            rates = self._known[id(prices)] = _unit_rates(prices, self.name, None)
        return rates

    def cost(self, usage: TokenUsage, at: datetime) -> Cost:
        """Price `usage` at the moment `at`; tiers, cached input and dated changes included."""
        rates = self.rates(at)
        return Cost(rates.usd(usage), rates.words)

    def batch(self) -> ApiPrice | None:
        """The provider's deferred price of the same model, where genai-prices knows one."""
        own = any(self._info is model for model in self._provider.models)
        offered = own and any(
            variant.when == {"processing": "batch"}
            and (variant.constraint is None or variant.constraint.active(self.as_of))
            for variant in self._info.price_variants or ()
        )
        if not offered:
            return None
        return ApiPrice(self.name, self.as_of, "batch", self._provider, self._info)


def _unit_rates(prices: Any, name: str, processing: str | None) -> UnitRates:
    from genai_prices import __version__

    read, wrote = _rate(prices.input_mtok), _rate(prices.output_mtok)
    cached = _rate(prices.cache_read_mtok) if prices.cache_read_mtok is not None else read
    per_request = (prices.requests_kcount or ZERO) / THOUSAND
    parts = [f"{amount(read.base)} / {amount(wrote.base)} per million input / output tokens"]
    if cached != read:
        parts.append(f"cached input {amount(cached.base)}")
    if per_request:
        parts.append(f"{amount(per_request)} per request")
    for (start, above), (_, out) in zip(read.tiers, wrote.tiers, strict=False):
        parts.append(f"above {start:,} input tokens {amount(above)} / {amount(out)}")
    kind = f"{processing} price" if processing else "list price"
    words = f"{name} {kind}: {', '.join(parts)} (genai-prices {__version__})"
    return UnitRates(read, wrote, cached, per_request, words)


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
