"""How the requests of a sum differ in size: some prices depend on each of them, not on the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SizeBand:
    """The requests between two sizes, as shares of all requests and of their tokens."""

    above: int
    """Each of them reads more input tokens than this."""
    requests: Decimal
    read: Decimal
    written: Decimal


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Input and output tokens of requests that stand for many others, each with its weight; (N,).

    Only proportions matter: a sum brings its own mean.
    """

    read: Floats
    written: Floats
    weight: Floats

    @classmethod
    def of(cls, read: Floats, written: Floats | None = None, weight: Floats | None = None) -> Self:
        """Equal weights and equally long answers where nothing else is said."""
        ones = np.ones(read.size)
        return cls(read, ones if written is None else written, ones if weight is None else weight)

    def parts(self, mean_read: float, starts: Sequence[int]) -> tuple[SizeBand, ...]:
        """Cut the requests at input sizes, where the mean of all is `mean_read` tokens."""
        all_read = float((self.weight * self.read).sum())
        if not all_read:
            return (SizeBand(0, Decimal(1), Decimal(1), Decimal(1)),)
        size = self.read * (mean_read * float(self.weight.sum()) / all_read)
        edges = [-np.inf, *sorted(set(starts)), np.inf]
        found = []
        for low, high in pairwise(edges):
            inside = self.weight * ((size > low) & (size <= high))
            shares = [
                Decimal(repr(_share(inside, self.weight, values)))
                for values in (None, self.read, self.written)
            ]
            found.append(SizeBand(max(int(low), 0) if np.isfinite(low) else 0, *shares))
        return tuple(part for part in found if part.requests)


def _share(inside: Floats, everything: Floats, values: Floats | None) -> float:
    of = 1.0 if values is None else values
    whole = float((everything * of).sum())
    return float((inside * of).sum()) / whole if whole else float(inside.sum() / everything.sum())
