"""The what-if page's controls: what can be moved, between what, and what that means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from costmodel.errors import BadProjection
from costmodel.inputs.deployment import Deployment, at_threshold, with_changes
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import MachinePrice, TokenPrice, now
from costmodel.money.rates import ApiPrice

_FIELDS = {
    "per_day": "traffic.requests_per_day",
    "audit_rate": "audit_rate",
    "machines": "student.min_machines",
}


@dataclass(frozen=True, slots=True)
class Slider:
    """One control: which field it sets and between what; a `log` one moves in powers of ten."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    scale: str = "linear"
    unit: str = ""


def sliders_of(deployment: Deployment) -> tuple[Slider, ...]:
    """The controls, each at what the files say."""
    now = deployment
    day = math.log10(now.traffic.requests_per_day)
    found = [
        Slider("per_day", "Requests a day", 2, max(9, day), 0.001, round(day, 3), "log"),
        Slider("audit_rate", "Audited, of kept answers", 0, 0.2, 0.001, now.audit_rate),
        Slider("machines", "Student machines kept", 1, 32, 1, now.student.min_machines),
    ]
    if now.curve:
        least, most = min(now.curve)[0], max(now.curve)[0]
        chosen = now.certified_threshold
        value = round(least if chosen is None or chosen > 1 else chosen, 4)
        found.insert(
            1, Slider("threshold", "Threshold of confidence", round(least, 4), round(most, 4),
                      0.0001, value)
        )  # fmt: skip
    for name, label, price in _prices(deployment):
        at = round(math.log10(price), 3)
        found.append(
            Slider(name, label, round(at - 1.5, 3), round(at + 1.5, 3), 0.001, at, "log", " $")
        )
    return tuple(found)


def moved(deployment: Deployment, query: Mapping[str, str]) -> Deployment:
    """The deployment with a query's values in it.

    Raises:
        BadProjection: a name is no slider, or a value no number that the field allows.
    """
    known = {slider.name for slider in sliders_of(deployment)}
    values: dict[str, float] = {}
    for name, text in query.items():
        if name not in known:
            raise BadProjection(f"there is no slider {name!r}; there are {sorted(known)}")
        try:
            values[name] = float(text)
        except ValueError:
            raise BadProjection(f"{name} is {text!r}; a number is needed") from None
        if not math.isfinite(values[name]):
            raise BadProjection(f"{name} is {text}; a finite number is needed")
    changes = {
        _FIELDS[name]: round(value) if name == "machines" else value
        for name, value in values.items()
        if name in _FIELDS
    }
    changes |= _price_changes(deployment, values)
    deployment = with_changes(deployment, changes) if changes else deployment
    if "threshold" in values:
        deployment = at_threshold(deployment, values["threshold"])
    return deployment


def _prices(deployment: Deployment) -> list[tuple[str, str, float]]:
    """The prices that can be moved: name, label, present value."""
    found: list[tuple[str, str, float]] = []
    teacher = price_of(deployment.teacher.price, own=deployment.prices)
    if isinstance(teacher, ApiPrice):
        rates = teacher.rates(now())
        found += [
            ("input_price", "Teacher, per million input tokens", float(rates.input.base)),
            ("output_price", "Teacher, per million output tokens", float(rates.output.base)),
        ]
    elif isinstance(teacher, TokenPrice):
        found += [
            ("input_price", "Teacher, per million input tokens",
             float(teacher.input_usd_per_mtok)),
            ("output_price", "Teacher, per million output tokens",
             float(teacher.output_usd_per_mtok)),
        ]  # fmt: skip
    elif isinstance(teacher, MachinePrice):
        found.append(
            ("teacher_machine_price", "Teacher machine, per hour", float(teacher.usd_per_hour))
        )
    student = price_of(deployment.student.price, own=deployment.prices)
    if isinstance(student, MachinePrice):
        hourly = float(student.usd_per_hour)
        found.append(("machine_price", "Student machine, per hour", hourly))
    return [row for row in found if row[2] > 0]


def _price_changes(deployment: Deployment, values: Mapping[str, float]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    present = {name: price for name, _, price in _prices(deployment)}
    spec = deployment.teacher.price
    for side in ("input", "output"):
        name = f"{side}_price"
        if name not in values or name not in present:
            continue
        # A moved price keeps its caches, tiers and deferred terms: all of it moves along.
        times = Decimal(repr(values[name])) / Decimal(repr(present[name]))
        if spec.model is not None:
            changes[f"teacher.price.{side}_times"] = times * getattr(spec, f"{side}_times")
            continue
        moved = [f"usd_per_mtok_{side}"]
        if side == "input":
            moved += ["usd_per_mtok_cached_input", "usd_per_mtok_cache_write"]
        for field in moved:
            if getattr(spec, field) is not None:
                changes[f"teacher.price.{field}"] = getattr(spec, field) * times
    if "teacher_machine_price" in values:
        changes["teacher.price.usd_per_hour"] = f"{values['teacher_machine_price']:.6g}"
    if "machine_price" in values:
        changes["student.price.usd_per_hour"] = f"{values['machine_price']:.6g}"
    return changes
