"""Savings, signed: against what, how much, and when what was paid once is earned back.

The choice of the baseline IS the result, so there are several: the price given, the best terms
known for the same teacher, and a cheap model that might do the job.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from costmodel.bill.rails import Usd
from costmodel.inputs.assumptions import Prices, TeacherUsage
from costmodel.money.pricebook import mean_cost
from costmodel.money.pricing import Price, TokenUsage
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


class Months(_Part):
    """Months until the one-off cost is earned back; `late` is None when the worse end never is."""

    early: float
    mid: float
    late: float | None


class BreakEven(_Part):
    """When the one-off cost is earned back, and when that never happens."""

    one_off_usd: Usd
    counted: tuple[str, ...]
    """What the one-off cost consists of."""
    not_counted: tuple[str, ...]
    """What people pay once and nobody stated."""
    months: Months | None
    """None: at this traffic the cascade saves nothing."""
    requests: float | None
    """Requests answered until then."""
    date: str | None
    minimum_requests_per_day: float | None
    """Below this traffic the machines cost more than the teacher calls they replace."""
    escalation_rate: float | None
    """At this escalation rate the saving is 0; above 1 it always pays, below 0 it never does.
    None: an escalation costs nothing, so no rate changes the answer."""


def alternatives(
    prices: Prices, usage: TeacherUsage, starts: datetime, words: dict[str, str]
) -> dict[str, tuple[Decimal, str]]:
    """What else one could do with every request: name → dollars per request, how."""
    listed = mean_cost(prices.teacher, usage.all, starts).usd / usage.all.requests
    unknown = "no cheaper terms of this teacher are known (batch, cached prompt)"
    found = {
        "teacher_list": (listed, words["teacher"]),
        "teacher_best_terms": _best_terms(prices.teacher, usage, starts) or (listed, unknown),
    }
    if prices.decision_api is not None:
        cost = mean_cost(prices.decision_api, usage.all, starts)
        words["decision_api"] = cost.price
        how = f"{cost.price}; adequate only if it passes your own evaluation"
        found["decision_api"] = (cost.usd / usage.all.requests, how)
    return found


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
