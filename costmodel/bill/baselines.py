"""Savings, signed: against what, how much, and when what was paid once is earned back.

The choice of the baseline IS the result, so there are several: the price given, the best terms
known for the same teacher, and a cheap model that might do the job.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from costmodel.bill.line import Usd
from costmodel.bill.machines import Fleet, rented
from costmodel.inputs.assumptions import Prices, TeacherUsage
from costmodel.money.pricebook import mean_cost
from costmodel.money.pricing import MachinePrice, Price, TokenUsage
from costmodel.money.rates import ApiPrice

MIN_CACHED_PREFIX = 1024
"""Tokens a prompt's fixed beginning must have before providers cache it (OpenAI's rule)."""


BASELINES = {
    "teacher_list": "teacher, price given",
    "teacher_best_terms": "teacher, best known terms",
    "decision_api": "cheap decision API",
}
"""What the cascade is compared with, and what people call it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Band(_Part):
    """A share or ratio with its 95 % interval."""

    low: float
    mid: float
    high: float


class UsdBand(_Part):
    """An amount with its 95 % interval; `low` is the worse end."""

    low: Usd
    mid: Usd
    high: Usd


class Baseline(_Part):
    """What the cascade is compared with. The choice of it IS the result: so there are several."""

    name: str
    usd_per_month: Usd
    saving: UsdBand
    saving_share: Band
    """Saving relative to this baseline; negative when the cascade costs more."""
    words: str


def alternatives(
    prices: Prices,
    usage: TeacherUsage,
    listed: Decimal,
    requests: Decimal,
    others: Fleet,
    starts: datetime,
    words: dict[str, str],
) -> dict[str, tuple[Decimal, str]]:
    """What else one could do with every request: name → dollars a month, how.

    Args:
        prices: who is paid how.
        usage: the teacher's tokens on a sample of requests.
        listed: a month of the teacher at the price given.
        requests: of the month.
        others: machines of another model that is rented by the hour.
        starts: when the month begins.
        words: unit prices in words; the other model's is added.
    """
    unknown = "no cheaper terms of this teacher are known (batch, cached prompt)"
    best = _best_terms(prices.teacher, usage, starts)
    found = {
        "teacher_list": (listed, words["teacher"]),
        "teacher_best_terms": (best[0] * requests, best[1]) if best else (listed, unknown),
    }
    if prices.decision_api is not None:
        usd, how = every_request(prices.decision_api, usage, requests, others, starts)
        words["decision_api"] = how
        how = f"{how}; adequate only if it passes your own evaluation"
        found["decision_api"] = (usd, how)
    return found


def every_request(
    price: Price, usage: TeacherUsage, requests: Decimal, fleet: Fleet, starts: datetime
) -> tuple[Decimal, str]:
    """Dollars of asking somebody every request of a month, and the unit price in words."""
    if isinstance(price, MachinePrice):
        return rented("model", price, requests, fleet).provisioned_usd, price.words
    cost = mean_cost(price, usage.all, starts)
    return cost.usd / usage.all.requests * requests, cost.price


def _best_terms(price: Price, usage: TeacherUsage, starts: datetime) -> tuple[Decimal, str] | None:
    """The cheapest known way to ask the same teacher everything: dollars per request, how."""
    if not isinstance(price, ApiPrice):
        return None
    asked, options = usage.all, []
    if usage.fixed_input_tokens >= MIN_CACHED_PREFIX:
        cached = min(usage.fixed_input_tokens * asked.requests, asked.input_tokens)
        asked = TokenUsage(asked.input_tokens, asked.output_tokens, cached, asked.requests)
        cost = mean_cost(price, asked, starts)
        options.append((cost.usd, f"{cost.price}; the fixed prompt always read from the cache"))
    batch = price.batch()
    if batch is not None:
        cost = mean_cost(batch, asked, starts)
        options.append((cost.usd, f"{cost.price}; answers may take hours"))
    if not options:
        return None
    usd, how = min(options)
    return usd / asked.requests, how


def compare(name: str, usd: Decimal, words: str, bill: UsdBand) -> Baseline:
    """The cascade's bill against a baseline's month."""
    saving = UsdBand(low=usd - bill.high, mid=usd - bill.mid, high=usd - bill.low)
    relative = Band(
        low=share(saving.low, usd), mid=share(saving.mid, usd), high=share(saving.high, usd)
    )
    return Baseline(name=name, usd_per_month=usd, saving=saving, saving_share=relative, words=words)


def share(part: Decimal, whole: Decimal) -> float:
    """A part of a whole; 0 of nothing."""
    return float(part / whole) if whole else 0.0
