"""`--set FIELD=VALUE`, for tasks and scenarios alike: one way to name a field, one set of rules.

A what-if that names one form of a value means it instead of the form in the file: a threshold
instead of a rate, a model instead of a price by tokens, wherever a price stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import yaml

from costmodel.errors import BadProjection, UnknownPrice
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import PriceSpec, amount, now
from costmodel.money.rates import ApiPrice

_TOKENS = (
    "usd_per_mtok_input", "usd_per_mtok_output", "usd_per_mtok_cached_input",
    "usd_per_mtok_cache_write",
)  # fmt: skip
_FORMS: tuple[tuple[str, ...], ...] = (
    ("model", "processing", "input_times", "output_times"),
    _TOKENS,
    ("machine",),
    ("usd_per_hour",),
)
"""The forms of a price: naming a field of one drops the others."""
_INSTEAD = {
    "policy.threshold": ("escalation_rate",),
    "policy.escalation_rate": ("threshold",),
    "workload.per_day": ("per_second",),
    "workload.per_second": ("per_day",),
    "workload.tokens.quantiles": ("mean", "cv"),
    "workload.tokens.mean": ("quantiles",),
}
"""Other fields that are two ways to say one thing."""


def parse_changes(settings: Sequence[str]) -> dict[str, Any]:
    """Turn `field=value` words into changes; values are read as YAML, so 1e6 is a number.

    Raises:
        BadProjection: a word has no `=`.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals or not field.strip():
            raise BadProjection(f"{setting!r} is not field=value, e.g. policy.audit_rate=0")
        changes[field.strip()] = parse_value(text)
    return changes


def parse_value(text: str) -> Any:
    """Read a value as YAML, and 1e6 as the number that people mean by it."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text


def parse_axes(sweeps: Sequence[str]) -> dict[str, list[Any]]:
    """Turn `field=a,b` words into the values of each axis.

    Raises:
        BadProjection: a word has no field or no value.
    """
    axes: dict[str, list[Any]] = {}
    for words in sweeps:
        field, equals, values = words.partition("=")
        if not equals or not field.strip() or not values.strip():
            raise BadProjection(f"--sweep {words!r} is not FIELD=A,B, e.g. student.replicas=2,4")
        axes[field.strip()] = [parse_value(value) for value in values.split(",")]
    return axes


def changed(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a file says with the changes in it, not yet checked."""
    out: dict[str, Any] = json.loads(json.dumps(raw, default=str)) if changes else dict(raw)
    for field, value in changes.items():
        *parents, leaf = field.split(".")
        place = out
        for parent in parents:
            inner = place.get(parent)
            place[parent] = place = inner if isinstance(inner, dict) else {}
        for other in _INSTEAD.get(field, ()):
            place.pop(other, None)
        if is_price(parents):
            _drop_other_forms(place, leaf, changes, parents)
        place[leaf] = value
    return out


def is_price(parents: Sequence[str]) -> bool:
    """Whether a field with these parents is part of a price."""
    return bool(parents) and (
        parents[-1] in ("price", "decision_api") or list(parents[:-1]) == ["baselines"]
    )


def _drop_other_forms(
    price: dict[str, Any], leaf: str, changes: Mapping[str, Any], parents: Sequence[str]
) -> None:
    """Leave nothing of other forms; half a price by tokens keeps the model's other half."""
    mine = next((form for form in _FORMS if leaf in form), None)
    if mine is None:
        return
    model = price.get("model")
    for form in _FORMS:
        if form is not mine:
            for name in form:
                price.pop(name, None)
    if mine is _TOKENS or mine is _FORMS[0]:
        price.pop("requests_per_second", None)
    if mine is _TOKENS and isinstance(model, str):
        given = {field.rpartition(".")[2] for field in changes
                 if field.split(".")[:-1] == list(parents)}  # fmt: skip
        for name, usd in _halves(model).items():
            if name not in given:
                price[name] = usd


def _halves(model: str) -> dict[str, str]:
    """A model's own price by tokens; nothing where nobody knows it."""
    try:
        price = price_of(PriceSpec(model=model))
    except UnknownPrice:
        return {}
    assert isinstance(price, ApiPrice), "no list of one's own is asked here"
    rates = price.rates(now())
    read, wrote = (amount(Decimal(rate.base)).lstrip("$") for rate in (rates.input, rates.output))
    return {"usd_per_mtok_input": read, "usd_per_mtok_output": wrote}
