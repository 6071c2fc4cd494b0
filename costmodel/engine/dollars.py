"""What a call costs, as the router's budget counts it, laid out for the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import inf

import numpy as np

from costmodel.errors import BadScenario
from costmodel.inputs.scenario import Scenario
from costmodel.kernel.layout import Floats
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import Price, TokenUsage
from costmodel.money.rates import ApiPrice

AUDITS_OF = 10
"""Audits may cost one of so many of a task's dollars, unless it says otherwise."""
_HOUR_S = 3600.0


def dollars_of(scenario: Scenario) -> dict[str, float | Floats]:
    """The budgets in dollars, and the price that they are spent at; nothing where there are none.

    Raises:
        BadScenario: there is a budget and no price.
        UnknownPrice: a price nobody knows.
    """
    policy, teacher = scenario.policy, scenario.teacher
    usd, audits = policy.budget_usd_per_hour, policy.audit_usd_per_hour
    if usd is None and audits is None:
        return {"usd_per_s": inf, "audit_usd_per_s": inf}
    if teacher.price is None:
        raise BadScenario(
            f"{scenario.name}: policy.budget_usd_per_hour cannot be counted without teacher.price; "
            "give one"
        )
    if audits is None:
        audits = usd / AUDITS_OF if usd is not None else None
    price = price_of(teacher.price, at=scenario.start, own=scenario.prices)
    told: dict[str, float | Floats] = {"prices": np.array(call_prices(price, scenario.start))}
    for name, limit in (("usd", usd), ("audit_usd", audits)):
        told[f"{name}_per_s"] = inf if limit is None else limit / _HOUR_S
        told[f"{name}_burst"] = 0.0 if limit is None else limit / _HOUR_S * policy.budget_burst_s
    return told


def call_prices(price: Price, at: datetime) -> Sequence[tuple[float, float, float, float]]:
    """Lay a price out by size of call: above so many tokens, USD a call, a token read, written."""
    starts = price.rates(at).starts if isinstance(price, ApiPrice) else ()
    rows = []
    for start in (0, *starts):
        one, longer, spoken = (
            float(price.cost(TokenUsage(start + read, written), at).usd)
            for read, written in ((1, 0), (2, 0), (1, 1))
        )
        read, written = longer - one, spoken - one
        rows.append((float(start), one - read * (start + 1), read, written))
    return rows
