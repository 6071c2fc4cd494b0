"""Made-up traffic whose truth is known text by text: templates, copies, customers, change.

A population of texts, how often each comes, and a student that is right or wrong on each: what a
threshold does to the traffic is a sum, not an estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Law = npt.NDArray[np.float64]

LABELS = ("rare", "common")
OTHERS = 30_000
"""Texts of which few come twice in a pile of 2,000 rows."""


@dataclass(frozen=True, eq=False)
class SimulatedTraffic:
    """P texts, how often they come, and how often a student is wrong on them.

    Attributes:
        texts: P distinct texts.
        teacher: (P,), the teacher's answer to each.
        group: (P,), the customer of each; None where rows come one by one.
        early: (P,), share of each text in the traffic as it was.
        late: (P,), share of each text in the traffic as it is now.
        changed: share of the new traffic at each place, 0 to 1, of a pile in order of time.
        wrong: (P,), chance that a student is wrong on each text, at most .5, or 1: surely.
    """

    texts: tuple[str, ...]
    teacher: Ints
    group: Ints | None
    early: Law
    late: Law
    changed: Callable[[Floats], Floats]
    wrong: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Draw n rows in order of time; of customers all rows of as many as hold so many."""
        if self.group is not None:
            return self._whole_customers(n, rng)
        late = rng.random(n) < self.changed((np.arange(n) + 0.5) / n)
        place = rng.random(n)
        return np.where(late, _drawn(self.late, place), _drawn(self.early, place))

    def _whole_customers(self, n: int, rng: np.random.Generator) -> Ints:
        assert self.group is not None
        count = round(n / self.group.size * (self.group.max() + 1))
        drawn = rng.permutation(self.group.max() + 1)[:count]
        rows: Ints = np.flatnonzero(np.isin(self.group, drawn))
        return rows

    def student(self, rng: np.random.Generator) -> SimulatedStudent:
        """Freeze a student: a confidence for each text, which falls as errors become likely."""
        confidence = rng.random(len(self.texts))
        surely = self.wrong >= 1
        chance = np.where(surely, 1.0, 2 * self.wrong * (1 - confidence))
        return SimulatedStudent(confidence, rng.random(chance.size) < chance)


@dataclass(frozen=True, eq=False)
class SimulatedStudent:
    """Confidence and error on each text of the population."""

    confidence: Floats
    wrong: Bools

    def having_learnt(self, texts: Ints) -> SimulatedStudent:
        """Return it with no error on the texts that it has seen."""
        wrong = self.wrong.copy()
        wrong[texts] = False
        return SimulatedStudent(self.confidence, wrong)

    def says(self, traffic: SimulatedTraffic) -> Ints:
        """Its label of each text: the other one where it is wrong."""
        return traffic.teacher ^ self.wrong


def _drawn(law: Law, place: Floats) -> Ints:
    ends = np.cumsum(law)
    rows: Ints = np.searchsorted(ends, place * ends[-1], "right")
    return rows.clip(max=law.size - 1)


def steady(place: Floats) -> Floats:
    """Traffic that stays as it is."""
    return np.ones_like(place)


def half_way(place: Floats) -> Floats:
    """Traffic that changed in the middle of the pile and stayed so."""
    return np.where(place < 0.5, 0.0, 1.0)


def templated(
    share: float,
    wrong: float,
    elsewhere: float,
    changed: Callable[[Floats], Floats] = steady,
) -> SimulatedTraffic:
    """One template with another number each time, that is a share of the traffic (as it is now)."""
    count = OTHERS // 4 if share else 0
    texts = [f"Your parcel {number} was sent from depot {number % 97}" for number in range(count)]
    now = np.full(count + OTHERS, (1 - share) / OTHERS)
    now[:count] = share / max(count, 1)
    before = np.append(np.zeros(count), np.full(OTHERS, 1 / OTHERS))
    chance = np.append(np.full(count, wrong), np.full(OTHERS, elsewhere))
    return _traffic(texts + _others(OTHERS), before, now, changed, chance)


def copied(share: float, texts: int, wrong: int, elsewhere: float) -> SimulatedTraffic:
    """Some texts come again and again, and a student is wrong on so many of them, surely."""
    often = [f"Copy {_word(number)} of the daily report" for number in range(texts)]
    law = np.append(np.full(texts, share / texts), np.full(OTHERS, (1 - share) / OTHERS))
    chance = np.append(np.arange(texts) < wrong, np.full(OTHERS, elsewhere))
    return _traffic(often + _others(OTHERS), law, law, steady, chance)


def customers(
    count: int, large: float, rows: int, wrong: float, elsewhere: float
) -> SimulatedTraffic:
    """Each customer comes as often as any other, a share of them with many texts that go together.

    A student is wrong on all texts of a large customer or on none.
    """
    is_large = np.arange(count) < large * count
    size = np.where(is_large, rows, 1)
    group = np.repeat(np.arange(count), size)
    hard = np.where(is_large, np.arange(count) < wrong * large * count, elsewhere)
    law = 1 / count / size[group]
    return _traffic(_others(group.size), law, law, steady, hard[group], group)


def _traffic(
    texts: list[str],
    early: Law,
    late: Law,
    changed: Callable[[Floats], Floats],
    wrong: Floats,
    group: Ints | None = None,
) -> SimulatedTraffic:
    teacher = np.arange(len(texts)) % 2
    return SimulatedTraffic(tuple(texts), teacher, group, early, late, changed, wrong.astype(float))


def _others(count: int) -> list[str]:
    """Texts that no number tells apart: near-copies of nothing."""
    return [f"Request {_word(number)} about something else" for number in range(count)]


def _word(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    word = letters[number % 26]
    while number := number // 26:
        word += letters[number % 26]
    return word
