"""Usage times a dated price is money: Decimal, with the price that was used beside it.

An API price comes from genai-prices (`costmodel.money.rates`: offline, dated rules, tiers). A
machine price comes from `prices.yaml` (`costmodel.money.machines`: dated, sourced, append-only) or
from the task file. A price nobody knows is an error that names the reference and says how to add
it: it is never 0. `costmodel.money.pricebook.price_of` turns what a file says into one of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal, Protocol, Self

from pydantic import Field, model_validator

from costmodel.errors import BadUsage
from costmodel.frozen import Frozen
from costmodel.money.sizes import Sizes

MILLION = Decimal(1_000_000)
SECONDS_PER_HOUR = Decimal(3600)
HOURS_PER_MONTH = 730
"""The one month convention of the product: 730 hours for traffic and for machines alike."""
MONTH_S = HOURS_PER_MONTH * 3600


_COUNTED = (
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "requests",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What was consumed; input tokens read from a cache or written to it are part of all of them.

    Raises:
        BadUsage: a count is negative, or more tokens went through a cache than were read.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    requests: int = 1
    cache_write_tokens: int = 0
    sizes: Sizes | None = field(default=None, compare=False, repr=False)
    """How the requests of a sum differ; None: each is taken to be the mean one."""

    def __post_init__(self) -> None:
        counts = (
            self.input_tokens, self.output_tokens, self.cached_input_tokens,
            self.cache_write_tokens, self.requests,
        )  # fmt: skip
        whole = all(type(count) is int for count in counts) and min(counts) >= 0
        for name in () if whole else _COUNTED:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadUsage(f"{name} is {value!r}; a whole number of at least 0 is needed")
        if self.cached_input_tokens + self.cache_write_tokens > self.input_tokens:
            raise BadUsage(
                f"cached_input_tokens is {self.cached_input_tokens} and cache_write_tokens "
                f"{self.cache_write_tokens} but input_tokens, which includes both, is only "
                f"{self.input_tokens}"
            )

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.requests + other.requests,
            self.cache_write_tokens + other.cache_write_tokens,
        )


NO_USAGE = TokenUsage(requests=0)


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount and the unit price that produced it, in words a report can print."""

    usd: Decimal
    price: str


class Price(Protocol):
    """How one supplier charges."""

    @property
    def words(self) -> str:
        """The unit price for people: amount, unit, source, date."""
        ...

    @property
    def checked(self) -> date | None:
        """When somebody last looked it up, where that is known."""
        ...

    def cost(self, usage: TokenUsage, at: datetime) -> Cost:
        """Price `usage` at the moment `at` (timezone-aware).

        Raises:
            UnknownPrice: the supplier has no price for this kind of usage at that moment.
        """
        ...


Processing = Literal["batch", "flex", "priority", "fast", "eu"]
"""Deferred for hours, cheaper and slower, dearer and faster (twice), or kept in the EU."""


class PriceSpec(Frozen):
    """A price as a task or scenario file names it: exactly one of the four forms.

    `model: openai:gpt-4o-mini` (genai-prices) · `usd_per_mtok_input` + `usd_per_mtok_output` ·
    `machine: aws:c7i.xlarge` + `requests_per_second` · `usd_per_hour` + `requests_per_second`.
    """

    model: str | None = None
    processing: Processing | None = None
    """Other terms of the same model than an ordinary call's."""
    input_times: Decimal = Field(default=Decimal(1), gt=0, allow_inf_nan=False)
    output_times: Decimal = Field(default=Decimal(1), gt=0, allow_inf_nan=False)
    """What if the model were dearer: factors on its price, caches, tiers and batch included."""
    usd_per_mtok_input: Decimal | None = Field(default=None, ge=0)
    usd_per_mtok_output: Decimal | None = Field(default=None, ge=0)
    usd_per_mtok_cached_input: Decimal | None = Field(default=None, ge=0)
    usd_per_mtok_cache_write: Decimal | None = Field(default=None, ge=0)
    machine: str | None = None
    usd_per_hour: Decimal | None = Field(default=None, ge=0)
    requests_per_second: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _exactly_one_form(self) -> Self:
        tokens = self.usd_per_mtok_input is not None
        forms = [
            self.model is not None,
            tokens,
            self.machine is not None,
            self.usd_per_hour is not None,
        ]
        if sum(forms) != 1:
            raise ValueError(
                f"{sum(forms)} price forms were given; give exactly one of model, "
                "usd_per_mtok_input (+ usd_per_mtok_output), machine, usd_per_hour"
            )
        moved = self.input_times != 1 or self.output_times != 1
        if (self.processing or moved) and self.model is None:
            raise ValueError("processing, input_times and output_times need a model")
        if tokens and self.usd_per_mtok_output is None:
            raise ValueError("usd_per_mtok_output is missing beside usd_per_mtok_input")
        hourly = self.machine is not None or self.usd_per_hour is not None
        if hourly and self.requests_per_second is None:
            raise ValueError(
                "an hourly price needs requests_per_second: how many requests one machine carries"
            )
        return self


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """US dollars per million tokens, as agreed with a supplier."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    cached_input_usd_per_mtok: Decimal
    words: str
    cache_write_usd_per_mtok: Decimal | None = None
    """None: as other input."""
    checked: date | None = None
    """When somebody last looked it up; None: the file that uses it says it."""

    def scaled(self, read: Decimal, written: Decimal) -> TokenPrice:
        """The same with a factor on what is read, caches included, and on what is written."""
        if read == written == 1:
            return self
        kept = self.cache_write_usd_per_mtok
        return TokenPrice(
            self.input_usd_per_mtok * read,
            self.output_usd_per_mtok * written,
            self.cached_input_usd_per_mtok * read,
            f"{self.words}; times {read:.4g} input, {written:.4g} output",
            None if kept is None else kept * read,
            self.checked,
        )

    def cost(self, usage: TokenUsage, at: datetime) -> Cost:
        """Return tokens times unit price; tokens that pass a cache at their own rates."""
        kept, fresh = usage.cache_write_tokens, usage.input_tokens - usage.cached_input_tokens
        if self.cache_write_usd_per_mtok is not None:
            fresh -= kept
        usd = (
            fresh * self.input_usd_per_mtok
            + usage.cached_input_tokens * self.cached_input_usd_per_mtok
            + kept * (self.cache_write_usd_per_mtok or 0)
            + usage.output_tokens * self.output_usd_per_mtok
        ) / MILLION
        return Cost(usd, self.words)


@dataclass(frozen=True, slots=True)
class MachinePrice:
    """A machine rented by the hour that carries so many requests a second when busy.

    The marginal cost of one request is usd_per_hour / 3600 / requests_per_second. Idle hours are
    the fleet's bill, not the request's: see `costmodel.bill.projection`.
    """

    usd_per_hour: Decimal
    requests_per_second: Decimal
    words: str
    checked: date | None = None
    """When somebody last looked it up; None: the file that uses it says it."""

    def cost(self, usage: TokenUsage, at: datetime) -> Cost:
        """Return the share of the machine's hour that the requests used."""
        usd = self.usd_per_hour / SECONDS_PER_HOUR / self.requests_per_second * usage.requests
        return Cost(usd, self.words)


def amount(usd: Decimal) -> str:
    """A unit price for people, exact, with at least cents: $0.10, $0.08925."""
    exact = usd.normalize()
    return f"${exact:f}" if exact.as_tuple().exponent < -2 else f"${exact:.2f}"  # type: ignore[operator]


def now() -> datetime:
    """The moment, timezone-aware: prices are dated."""
    return datetime.now(UTC)


def today() -> datetime:
    """The beginning of this day, UTC."""
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def per_request_seconds(requests_per_second: float) -> float:
    """Seconds of one machine that one request takes."""
    if not math.isfinite(requests_per_second) or requests_per_second <= 0:
        raise BadUsage(f"requests_per_second is {requests_per_second!r}; it must be above 0")
    return 1.0 / requests_per_second
