"""From what a file says about a price to the price itself, checked when the file is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from costmodel.errors import UnknownPrice
from costmodel.money.machines import STALE_AFTER_DAYS, find_machine
from costmodel.money.pricelist import PriceList
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
from costmodel.money.snapshot import snapshot_warning


def price_of(spec: PriceSpec, *, at: datetime | None = None, own: PriceList | None = None) -> Price:
    """Return the price that `spec` names.

    Args:
        spec: one of the four forms of a task or scenario file.
        at: the moment the look-up is made for; now if not given.
        own: agreed prices; they win over the shipped ones.

    Raises:
        UnknownPrice: nobody gave a price for the model or machine; the message names near matches
            and says how to add one.
    """
    at, own = at or now(), own or PriceList()
    if spec.model is not None:
        return _model_price(spec, spec.model, at, own)
    if spec.usd_per_mtok_input is not None:
        return _token_price(spec, "given in the file")
    assert spec.requests_per_second is not None, "PriceSpec checks this"
    checked = None
    if spec.machine is not None:
        row = find_machine(spec.machine, at.date(), own.all_machines)
        hourly, checked = row.usd_per_hour, row.checked
        words = row.words_on(max(at, now()).date())
    else:
        assert spec.usd_per_hour is not None, "PriceSpec checks this"
        hourly = spec.usd_per_hour
        words = f"{amount(hourly)} per hour (given in the file)"
    rate = Decimal(repr(spec.requests_per_second))
    words = f"{words}, carrying {rate.normalize():f} requests a second"
    return MachinePrice(hourly, rate, words, checked)


def _model_price(spec: PriceSpec, name: str, at: datetime, own: PriceList) -> Price:
    agreed, discount = own.model(name), own.discount(name)
    read, wrote = spec.input_times, spec.output_times
    if agreed is not None:
        price = _token_price(agreed.spec, f"{agreed.source}, {agreed.checked}")
        price = replace(price.scaled(read, wrote), checked=agreed.checked)
        return processed(price, spec.processing)
    left = 1 - discount.share if discount else Decimal(1)
    times = (read * left, wrote * left)
    public = ApiPrice.of(name, at).processed(spec.processing)
    return replace(public, times=times, _known={})


def _token_price(spec: PriceSpec, where: str) -> TokenPrice:
    read, wrote = spec.usd_per_mtok_input, spec.usd_per_mtok_output
    assert read is not None, "PriceSpec checks this"
    assert wrote is not None, "PriceSpec checks this"
    cached, kept = spec.usd_per_mtok_cached_input, spec.usd_per_mtok_cache_write
    words = f"{amount(read)} / {amount(wrote)} per million input / output tokens"
    if cached is not None:
        words += f", cached input {amount(cached)}"
    if kept is not None:
        words += f", cache writes {amount(kept)}"
    return TokenPrice(read, wrote, read if cached is None else cached, f"{words} ({where})", kept)


def old_prices(prices: Iterable[Price], today: date) -> tuple[str, ...]:
    """One sentence for each price that nobody looked up within 30 days."""
    found: dict[str, None] = {}
    for price in prices:
        if isinstance(price, ApiPrice):
            old = snapshot_warning(today)
            if old:
                found[old] = None
        elif price.checked is not None and (today - price.checked).days > STALE_AFTER_DAYS:
            age = (today - price.checked).days
            found[f"nobody looked up this price for {age} days: {price.words}"] = None
    return tuple(found)


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
