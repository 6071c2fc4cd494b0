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
    "peak": "fleet.peak_to_mean",
    "latency": "teacher.latency_s",
    "concurrency": "teacher.max_concurrency",
    "escalated_factor": "usage.escalated_factor",
    "wrong_usd": "cost_of_wrong_answer",
    "once_usd": "one_off.other_usd",
}
WHOLE = ("machines", "concurrency")
SLACK = 1e-9
"""By how much rounding may miss the end of a range."""


@dataclass(frozen=True, slots=True)
class Slider:
    """One control: which field it sets and between what; a `log` one moves in powers of ten.

    The number box shows `factor` times the field's value, in `unit`.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    scale: str = "linear"
    unit: str = ""
    factor: float = 1.0

    def _meant(self, at: float) -> float:
        return 10**at if self.scale == "log" else at

    @property
    def shown(self) -> float:
        """The value as its number box shows it."""
        value = float(f"{self._meant(self.value):.6g}")
        return int(value) if value == int(value) else value

    @property
    def least(self) -> float:
        """The lowest value, as shown."""
        return float(f"{self._meant(self.low):.4g}")

    @property
    def most(self) -> float:
        """The highest value, as shown."""
        return float(f"{self._meant(self.high):.4g}")

    @property
    def box_step(self) -> str:
        """What the number box may hold: whole numbers where only they mean something."""
        return "1" if self.name in WHOLE else "any"

    def check(self, value: float) -> None:
        """Refuse what the control could not show.

        Raises:
            BadProjection: it is outside the range, or no whole number.
        """
        shown = value * self.factor
        if not self.least * (1 - SLACK) <= shown <= self.most * (1 + SLACK):
            least, most = self.least / self.factor, self.most / self.factor
            raise BadProjection(
                f"{self.name} is {_plain(value)}; it goes from {_plain(least)} to {_plain(most)}"
            )
        if self.name in WHOLE and value != round(value):
            raise BadProjection(f"{self.name} is {_plain(value)}; a whole number is needed")


def _plain(value: float) -> str:
    """A number for people, without an exponent as far as anybody counts."""
    return f"{value:,.13g}"


def sliders_of(deployment: Deployment) -> tuple[Slider, ...]:
    """The controls, each at what the files say."""
    now = deployment
    day = math.log10(now.traffic.requests_per_day)
    found = [_log("per_day", "Requests a day", min(2, day), max(9, day), day)]
    if now.curve:
        least, most = min(now.curve)[0], max(now.curve)[0]
        chosen = now.certified_threshold
        value = round(least if chosen is None or chosen > 1 else chosen, 4)
        found.append(
            Slider("threshold", "Threshold of confidence", round(least, 4), round(most, 4),
                   0.001, value)
        )  # fmt: skip
    audits = 100 * now.audit_rate
    found += [
        Slider("audit_rate", "Audited, of kept answers", 0, max(20, audits), 0.1, audits,
               unit="%", factor=100),
        _whole("machines", "Student machines kept", 64, now.student.min_machines),
        Slider("peak", "Busiest moment over the mean", 1, max(20, now.fleet.peak_to_mean), 0.1,
               now.fleet.peak_to_mean),
        Slider("latency", "Teacher's mean latency", 0.05, max(20, now.teacher.mean_latency_s),
               0.05, now.teacher.mean_latency_s, unit="s"),
        _whole("concurrency", "Teacher calls at once", 512, now.teacher.max_concurrency),
    ]  # fmt: skip
    if now.usage is not None:
        longer = now.usage.escalated_factor
        found.append(
            Slider("escalated_factor", "Escalated request over the mean one",
                   min(0.2, longer), max(5, longer), 0.05, longer)
        )  # fmt: skip
    for name, label, price in _prices(deployment):
        at = math.log10(price)
        found.append(_log(name, label, at - 1.5, at + 1.5, at, "$"))
    wrong, once = now.cost_of_wrong_answer, float(now.one_off.other_usd)
    found += [
        Slider("wrong_usd", "Cost of a wrong answer", 0, max(1, wrong), 0.005, wrong, unit="$"),
        Slider("once_usd", "Paid once beside labels", 0, max(200_000, once), 500, once, unit="$"),
    ]
    return tuple(found)


def _log(name: str, label: str, low: float, high: float, at: float, unit: str = "") -> Slider:
    """Steps of a twentieth of a power of ten: an arrow key moves the amount by 12 %."""
    return Slider(name, label, low, high, 0.05, at, "log", unit)


def _whole(name: str, label: str, most: int, now: int) -> Slider:
    return Slider(name, label, 1, max(most, now), 1, now)


def moved(deployment: Deployment, query: Mapping[str, str]) -> Deployment:
    """The deployment with a query's values in it.

    Raises:
        BadProjection: a name is no slider, or a value no number that the field allows.
    """
    known = {slider.name: slider for slider in sliders_of(deployment)}
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
        known[name].check(values[name])
    changes = {
        _FIELDS[name]: round(value) if name in WHOLE else value
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
