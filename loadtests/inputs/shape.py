"""How the rate moves within one load test: seconds-scale, on top of any kind of arrivals."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from costmodel.frozen import Frozen
from costmodel.inputs.workload import BUSINESS_DAY

Floats = npt.NDArray[np.float64]
PIECES = 256
"""A sloping stretch is cut into so many even ones."""


class RateShape(Frozen):
    """The rate relative to `LoadSpec.rate`.

    steady · step: × `factor` from `at_s` on · spike: × `factor` for `length_s` from `at_s` on ·
    square: 1 and `factor` in turn, each for half of `period_s` · ramp: straight from 1 to
    `factor` · diurnal: a business day, mean 1, squeezed into the test · stages: from 1 in
    straight lines through (seconds, factor) pairs; the last factor stays.
    """

    kind: Literal["steady", "step", "spike", "square", "ramp", "diurnal", "stages"] = "steady"
    factor: Annotated[float, Field(gt=0, le=1000)] = 10.0
    at_s: Annotated[float, Field(ge=0)] = 5.0
    length_s: Annotated[float, Field(gt=0)] = 10.0
    period_s: Annotated[float, Field(gt=0)] = 10.0
    stages: tuple[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)]], ...] = ()
    """Seconds of each stage and the factor at its end."""

    @model_validator(mode="after")
    def _stages_with_kind(self) -> Self:
        if (self.kind == "stages") != bool(self.stages):
            raise ValueError("kind stages and stages belong together; give both or neither")
        return self

    def points(self, duration_s: float) -> tuple[Floats, Floats]:
        """Return instants (M,), ascending from 0 to `duration_s`, and factors (M,) joined by lines.

        A jump is two points at one instant.
        """
        at, factors = self._corners(duration_s)
        pieces = [
            np.linspace(a, b, PIECES, endpoint=False) if f != g else np.array([a])
            for a, b, f, g in zip(at[:-1], at[1:], factors[:-1], factors[1:], strict=True)
            if b > a or f != g
        ]
        values = [
            np.linspace(f, g, PIECES, endpoint=False) if f != g else np.array([f])
            for a, b, f, g in zip(at[:-1], at[1:], factors[:-1], factors[1:], strict=True)
            if b > a or f != g
        ]
        return np.concatenate([*pieces, at[-1:]]), np.concatenate([*values, factors[-1:]])

    def work(self, duration_s: float) -> tuple[Floats, Floats]:
        """Return instants (M,) and the integral of the factor up to each of them (M,)."""
        at, factors = self.points(duration_s)
        grown = np.diff(at) * (factors[1:] + factors[:-1]) / 2
        return at, np.concatenate([[0.0], np.cumsum(grown)])

    def mean_factor(self, duration_s: float) -> float:
        """Return the mean rate of the test relative to `LoadSpec.rate`."""
        return float(self.work(duration_s)[1][-1]) / duration_s

    def _corners(self, duration_s: float) -> tuple[Floats, Floats]:
        at, f = min(self.at_s, duration_s), self.factor
        if self.kind == "step":
            return np.array([0, at, at, duration_s]), np.array([1, 1, f, f], dtype=float)
        if self.kind == "spike":
            end = min(at + self.length_s, duration_s)
            return (
                np.array([0, at, at, end, end, duration_s]),
                np.array([1, 1, f, f, 1, 1], dtype=float),
            )
        if self.kind == "square":
            edges = np.append(np.arange(0, duration_s, self.period_s / 2), duration_s)
            levels = np.where(np.arange(len(edges) - 1) % 2 == 0, 1.0, f)
            return np.repeat(edges, 2)[1:-1], np.repeat(levels, 2)
        if self.kind == "ramp":
            return np.array([0.0, duration_s]), np.array([1.0, f])
        if self.kind == "stages":
            ends = np.cumsum([seconds for seconds, _ in self.stages])
            at_ends = np.r_[0.0, ends, max(duration_s, float(ends[-1]))]
            levels = np.r_[1.0, [level for _, level in self.stages], self.stages[-1][1]]
            inside = at_ends < duration_s
            last = np.interp(duration_s, at_ends, levels)
            return np.r_[at_ends[inside], duration_s], np.r_[levels[inside], last]
        if self.kind == "diurnal":
            hours = np.asarray(BUSINESS_DAY) / np.mean(BUSINESS_DAY)
            edge = (hours[0] + hours[-1]) / 2
            middles = (np.arange(24) + 0.5) / 24 * duration_s
            return np.r_[0.0, middles, duration_s], np.r_[edge, hours, edge]
        return np.array([0.0, duration_s]), np.array([1.0, 1.0])
