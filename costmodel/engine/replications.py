"""The same scenario with several seeds: means and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.engine.result import Result


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its Student-t interval."""

    mean: float
    low: float
    high: float
    n: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Replications:
    """The same scenario with several seeds."""

    results: tuple[Result, ...]

    def interval(self, of: Callable[[Result], float], confidence: float = 0.95) -> Interval:
        """Mean and Student-t interval of any figure over the seeds."""
        return interval([of(result) for result in self.results], confidence)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval of independent values; one value has an infinite interval."""
    from scipy.special import stdtrit

    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if x.size < 2:
        return Interval(mean, -math.inf, math.inf, x.size)
    half = float(stdtrit(x.size - 1, (1 + confidence) / 2) * x.std(ddof=1) / math.sqrt(x.size))
    return Interval(mean, mean - half, mean + half, x.size)
