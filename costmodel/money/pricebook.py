"""From what a file says about a price to the price itself, checked when the file is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from costmodel.errors import UnknownPrice
from costmodel.money.machines import MachineRow, find_machine
from costmodel.money.pricing import (
    HOURS_PER_MONTH,
    Cost,
    MachinePrice,
    Price,
    PriceSpec,
    Processing,
    TokenPrice,
    TokenUsage,
    amount,
    now,
)
from costmodel.money.rates import ApiPrice


def price_of(
    spec: PriceSpec, *, at: datetime | None = None, machines: Sequence[MachineRow] | None = None
) -> Price:
    """Return the price that `spec` names.

    Args:
        spec: one of the four forms of a task or scenario file.
        at: the moment the look-up is made for; now if not given.
        machines: rows of hourly prices; the shipped list if not given.

    Raises:
        UnknownPrice: nobody gave a price for the model or machine; the message names near matches
            and says how to add one.
    """
    at = at or now()
    if spec.model is not None:
        return ApiPrice.of(spec.model, at).processed(spec.processing)
    if spec.usd_per_mtok_input is not None and spec.usd_per_mtok_output is not None:
        return _token_price(spec, spec.usd_per_mtok_input, spec.usd_per_mtok_output)
    assert spec.requests_per_second is not None, "PriceSpec checks this"
    if spec.machine is not None:
        row = find_machine(spec.machine, at.date(), machines)
        hourly, words = row.usd_per_hour, row.words_on(at.date())
    else:
        assert spec.usd_per_hour is not None, "PriceSpec checks this"
        hourly = spec.usd_per_hour
        words = f"{amount(hourly)} per hour (given in the file)"
    rate = Decimal(repr(spec.requests_per_second))
    return MachinePrice(hourly, rate, f"{words}, carrying {rate.normalize():f} requests a second")


def _token_price(spec: PriceSpec, read: Decimal, wrote: Decimal) -> TokenPrice:
    cached, kept = spec.usd_per_mtok_cached_input, spec.usd_per_mtok_cache_write
    words = f"{amount(read)} / {amount(wrote)} per million input / output tokens"
    if cached is not None:
        words += f", cached input {amount(cached)}"
    if kept is not None:
        words += f", cache writes {amount(kept)}"
    return TokenPrice(
        read,
        wrote,
        read if cached is None else cached,
        f"{words} (given in the file)",
        kept,
    )


def processed(price: Price, processing: Processing | None) -> Price:
    """The price on other terms: of audits or labels that may wait.

    Raises:
        UnknownPrice: nobody knows these terms of it.
    """
    if processing is None or (isinstance(price, ApiPrice) and price.processing == processing):
        return price
    if not isinstance(price, ApiPrice):
        raise UnknownPrice(
            f"processing {processing} needs teacher.price.model: only a public price has such terms"
        )
    return price.processed(processing)


def mean_cost(price: Price, usage: TokenUsage, starts: datetime) -> Cost:
    """Price `usage` spread evenly over the 730 hours from `starts`.

    A price that changes on a date or with the hour of the day changes the month's bill: every hour
    is priced, and the words say for how many hours each unit price held.
    """
    if not (isinstance(price, ApiPrice) and price.changes):
        return Cost(price.cost(usage, starts).usd, price.words)
    costs = [price.cost(usage, starts + timedelta(hours=hour)) for hour in range(HOURS_PER_MONTH)]
    held = Counter(cost.price for cost in costs)
    words = "; ".join(f"{unit} for {hours} h of the month" for unit, hours in held.items())
    return Cost(sum((cost.usd for cost in costs), Decimal(0)) / len(costs), words)
