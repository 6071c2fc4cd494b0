"""Savings, signed: against what, how much, and when what was paid once is earned back.

The choice of the baseline IS the result, so there are several: the price given, the best terms
known for the same teacher (of both sides), and a cheap model that might do the job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from costmodel.bill.line import Usd
from costmodel.bill.machines import Fleet, rented
from costmodel.bill.usage import warm
from costmodel.frozen import Frozen
from costmodel.inputs.assumptions import TeacherUsage
from costmodel.money.pricebook import mean_cost
from costmodel.money.pricing import MachinePrice, Price, Processing, TokenUsage
from costmodel.money.rates import ApiPrice

BASELINES = {
    "teacher_list": "teacher, price given",
    "teacher_best_terms": "teacher, best known terms",
    "decision_api": "cheap decision API",
}
"""What the cascade is compared with, and what people call it."""


class Band(Frozen):
    """A share or ratio with its 95 % interval."""

    low: float
    mid: float
    high: float


class UsdBand(Frozen):
    """An amount with its 95 % interval; `low` is the worse end."""

    low: Usd
    mid: Usd
    high: Usd


class Baseline(Frozen):
    """What the cascade is compared with. The choice of it IS the result: so there are several."""

    name: str
    usd_per_month: Usd
    saving: UsdBand
    saving_share: Band
    """Saving relative to this baseline; negative when the cascade costs more."""
    cascade_usd_per_month: Usd
    """The cascade on the same terms."""
    words: str


@dataclass(frozen=True, slots=True)
class Terms:
    """Other terms on which the same teacher can be asked, by both sides of a comparison."""

    price: ApiPrice
    usage: TeacherUsage
    words: str
    """What they cost whom beyond money."""


def other_terms(
    price: Price, usage: TeacherUsage, all_per_s: float, asked_per_s: float
) -> tuple[Terms, ...]:
    """Every known way to ask the same teacher: cached prompt, deferred, or both.

    Args:
        price: the teacher's price as given.
        usage: its tokens on a sample of requests.
        all_per_s: requests a second, which keep the cache warm if all are asked.
        asked_per_s: escalations and audits a second, which keep it less warm.
    """
    if not isinstance(price, ApiPrice):
        return ()
    usages = [(usage, "")]
    if usage.fixed_input_tokens >= price.least_cached_prefix and not usage.all.cached_input_tokens:
        hits = warm(all_per_s, usage.cache_ttl_s), warm(asked_per_s, usage.cache_ttl_s)
        cached = replace(
            usage,
            all=_cached(usage.all, usage.fixed_input_tokens, hits[0]),
            escalated=_cached(usage.escalated or usage.all, usage.fixed_input_tokens, hits[1]),
        )
        how = f"fixed prompt in the cache for {hits[0]:.0%} of all requests, {hits[1]:.0%} of asked"
        usages.append((cached, how))
    prices = [(price, "")]
    for processing in WAITING:
        deferred = price.on(processing)
        if deferred is not None:
            prices.append((deferred, WAITING[processing]))
    return tuple(
        Terms(other, used, "; ".join(words for words in (how, wait) if words))
        for used, how in usages
        for other, wait in prices
        if how or wait
    )


WAITING: dict[Processing, str] = {
    "batch": "answers may take hours, escalations too",
    "flex": "answers are slower and may be refused, escalations too",
}
"""Cheaper terms and what they cost those who wait."""


def _cached(usage: TokenUsage, fixed: int, hits: float) -> TokenUsage:
    through = min(fixed * usage.requests, usage.input_tokens)
    cached = math.floor(through * hits)
    return replace(usage, cached_input_tokens=cached, cache_write_tokens=through - cached)


def every_request(
    price: Price, usage: TeacherUsage, requests: Decimal, fleet: Fleet, starts: datetime
) -> tuple[Decimal, str]:
    """Dollars of asking somebody every request of a month, and the unit price in words."""
    if isinstance(price, MachinePrice):
        return rented("model", price, requests, fleet).provisioned_usd, price.words
    cost = mean_cost(price, usage.all, starts)
    return cost.usd / usage.all.requests * requests, cost.price


def compare(name: str, usd: Decimal, words: str, bill: UsdBand) -> Baseline:
    """The cascade's bill against a baseline's month."""
    saving = UsdBand(low=usd - bill.high, mid=usd - bill.mid, high=usd - bill.low)
    relative = Band(
        low=share(saving.low, usd), mid=share(saving.mid, usd), high=share(saving.high, usd)
    )
    return Baseline(
        name=name,
        usd_per_month=usd,
        saving=saving,
        saving_share=relative,
        cascade_usd_per_month=bill.mid,
        words=words,
    )


def share(part: Decimal, whole: Decimal) -> float:
    """A part of a whole; 0 of nothing."""
    return float(part / whole) if whole else 0.0
