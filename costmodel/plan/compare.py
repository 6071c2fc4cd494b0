"""N answers side by side: which nothing beats, which line of the bill moved, where they cross.

found = [study(load(path)) for path in paths]
moved_lines(found[0], found[1])
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from costmodel.errors import BadScenario
from costmodel.inputs.scenario import Scenario, vary
from costmodel.plan.study import Study
from costmodel.uncertainty.draws import Floats, MoneyModel, draw_inputs

GRID = np.geomspace(1e-4, 1e4, 4001)
"""Factors on today's traffic at which two bills are compared."""
DRAWN = 400
"""Draws of both bills' inputs behind the band of a crossing."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One line of the bill in two scenarios, US dollars a month."""

    line: str
    before: float
    after: float

    @property
    def by(self) -> float:
        """What the second pays more; negative: less."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Crossing:
    """The traffic from which on the second costs less than the first, closed form."""

    what: str
    """Cascade or teacher only."""
    first: str
    second: str
    requests_per_day: float | None
    """None: one of the two costs less at any traffic looked at."""
    cheaper_above: str
    """Who costs less above it, or always."""
    low: float | None
    high: float | None
    """P10 and P90 of it over the stated doubts of both; None where they seldom cross."""
    share: float
    """Of the draws in which they cross at all."""


def overlaid(base: Scenario, paths: Sequence[Path]) -> Scenario:
    """The scenario with the sections of other files laid over it, e.g. a teacher and its latency.

    Raises:
        BadScenario: a file cannot be read, or what it says is not allowed.
    """
    if not paths:
        return base
    changes: dict[str, Any] = {}
    for path in paths:
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadScenario(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(raw, dict):
            raise BadScenario(f"{path} is a {type(raw).__name__}; it must be a mapping of sections")
        changes |= _dotted(raw)
    names = " + ".join(path.stem for path in paths)
    return vary(base, {**changes, "name": f"{base.name} [{names}]"})


def crossed(
    bases: Sequence[Scenario], teachers: Sequence[Path], students: Sequence[Path]
) -> list[Scenario]:
    """Every scenario with every teacher and every student; those not given stay as they are."""
    combinations = itertools.product(
        bases, [[path] for path in teachers] or [[]], [[path] for path in students] or [[]]
    )
    return [overlaid(base, [*teacher, *student]) for base, teacher, student in combinations]


def _dotted(raw: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Sections as dotted fields; a price or a list is one value, replaced as a whole."""
    found: dict[str, Any] = {}
    for name, value in raw.items():
        whole = name in ("price", "noise", "trace") or before == "baselines."
        if isinstance(value, dict) and not whole:
            found |= _dotted(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def efficient(studies: Sequence[Study]) -> list[bool]:
    """Whether no other answer that works is as cheap, as right and as fast, and better in one."""
    figures = [
        (
            float(one.bill.cascade),
            -one.mean(lambda run: run.agreement),
            one.mean(lambda run: run.routes["all"].p99_s),
        )
        for one in studies
    ]
    works = [one.verdict.works for one in studies]

    def beaten(k: int) -> bool:
        return any(
            works[j]
            and figures[j] != figures[k]
            and all(a <= b for a, b in zip(figures[j], figures[k], strict=True))
            for j in range(len(studies))
        )

    return [works[k] and not beaten(k) for k in range(len(studies))]


def moved_lines(first: Study, second: Study) -> list[Moved]:
    """The cascade's lines that differ, the largest first; they add up to the bills' difference."""
    bills = []
    for one in (first, second):
        cascade = next(rail for rail in one.bill.rails if rail.name == "cascade")
        bills.append({line.name: float(line.usd) for line in cascade.lines})
    names = dict.fromkeys([*bills[0], *bills[1]])
    found = [Moved(name, bills[0].get(name, 0.0), bills[1].get(name, 0.0)) for name in names]
    return sorted((one for one in found if one.by), key=lambda one: -abs(one.by))


def changed_fields(first: Scenario, second: Scenario) -> list[tuple[str, str, str]]:
    """What two scenarios say differently: field, first, second."""
    said = [_leaves(one.model_dump(mode="json")) for one in (first, second)]
    names = dict.fromkeys([*said[0], *said[1]])
    return [
        (name, said[0].get(name, "–"), said[1].get(name, "–"))
        for name in names
        if name != "name" and said[0].get(name) != said[1].get(name)
    ]


def _leaves(value: object, before: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name, inner in value.items():
            found |= _leaves(inner, f"{before}.{name}" if before else name)
        return found
    if value is None:
        return {}
    text = str(value)
    return {before: text if len(text) <= 60 else f"{text[:57]}…"}


def crossings(studies: Sequence[Study]) -> list[Crossing]:
    """Where each answer and the first cost the same, by cascade and by teacher alone."""
    found = []
    for other in studies[1:]:
        for what in ("cascade", "teacher only"):
            found.append(_crossing(studies[0], other, what))
    return found


def _crossing(first: Study, second: Study, what: str) -> Crossing:
    """On one axis of requests a day: the last change of who costs less."""
    base = first.projection.requests_per_day
    days = GRID * base

    def less(draws: int) -> npt.NDArray[np.bool_]:
        """Whether the second costs less, (draws or 1, days); without draws: as projected."""
        bills = []
        for one in (first, second):
            model = MoneyModel(one.projection)
            at: dict[str, float | Floats] = {**model.middle}
            if draws:
                drawn = _world(one, first, draws)
                at = {name: values[:, None] for name, values in drawn.items()}
            at["traffic"] = days[None, :] / one.projection.requests_per_day
            usd = model.cascade(at) if what == "cascade" else model.teacher_only(at)
            bills.append(np.broadcast_to(usd, (max(draws, 1), days.size)))
        return np.asarray(bills[1] < bills[0])

    projected = less(0)
    names = (first.scenario.name, second.scenario.name)
    winner = names[1] if projected[0, -1] else names[0]
    [at_day] = _last_changes(projected, days)
    drawn = _last_changes(less(DRAWN), days)
    crossing = drawn[np.isfinite(drawn)]
    low, high = (
        (float(x) for x in np.quantile(crossing, (0.1, 0.9)))
        if crossing.size > DRAWN / 2
        else (None, None)
    )
    return Crossing(
        what,
        *names,
        float(at_day) if np.isfinite(at_day) else None,
        winner,
        low,
        high,
        crossing.size / DRAWN,
    )


def _world(one: Study, first: Study, draws: int) -> dict[str, Floats]:
    """Draw one traffic for both; the prices of two suppliers move each by itself."""
    drawn = draw_inputs(one.projection, one.scenario.doubt, 0, draws)
    other = draw_inputs(one.projection, one.scenario.doubt, 1, draws)
    for who in ("teacher", "student"):
        if getattr(one.scenario, who).price != getattr(first.scenario, who).price:
            drawn[f"{who}_price"] = other[f"{who}_price"]
    return drawn


def _last_changes(less: npt.NDArray[np.bool_], days: Floats) -> Floats:
    """In each row the traffic from which on the word stays; nan: it never changed."""
    changed = less[:, 1:] != less[:, :-1]
    last = changed.shape[1] - np.argmax(changed[:, ::-1], axis=1)
    return np.where(changed.any(axis=1), days[last], np.nan)
