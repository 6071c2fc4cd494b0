"""What is usual of the traffic that a student was made for: how long, how sure, how much is kept.

Without labels, so it proves nothing; what the router sees later is compared with it as a hint.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from costmodel.frozen import Frozen

BINS = 10
"""As many equal shares as ties allow."""


class UsualSignal(Frozen):
    """One figure of a request: B - 1 ascending edges, and the usual share between them (B,)."""

    edges: tuple[float, ...]
    shares: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def of(cls, values: npt.NDArray[np.floating], bins: int = BINS) -> UsualSignal:
        """Cut values (N,) into bins of equal shares; what is no number is below all others."""
        clean = np.nan_to_num(np.asarray(values, np.float64), nan=-1.0)
        edges = np.unique(np.quantile(clean, np.arange(1, bins) / bins, method="higher"))
        edges = edges[edges > clean.min()]
        if edges.size == 0:  # all alike: what is below or above is another bin, or nothing moves it
            edges = np.array([clean[0], np.nextafter(clean[0], np.inf)])
        places = np.searchsorted(edges, clean, side="right")
        shares = np.bincount(places, minlength=edges.size + 1) / clean.size
        return cls(edges=tuple(map(float, edges)), shares=tuple(map(float, shares)))

    def place(self, value: float) -> int:
        """In which bin a value is."""
        return bisect_right(self.edges, value) if value == value else 0


class Usual(Frozen):
    """The usual traffic of a bundle, from `n` rows that no threshold was placed on."""

    n: int = Field(ge=1)
    confidence: UsualSignal
    characters: UsualSignal
    escalated: UsualSignal
    """Two bins: kept, escalated."""
    unknown: UsualSignal | None = None
    """Share of n-grams that the student knows nothing of; None where it has no n-grams."""

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        confidence: npt.NDArray[np.floating],
        kept: npt.NDArray[np.bool_],
        unknown_share: Callable[[str], float] | None = None,
    ) -> Usual:
        """Describe N texts, how sure the student is of each (N,) and which it keeps (N,)."""
        share, unknown = float(kept.mean()), None
        if unknown_share is not None:
            unknown = UsualSignal.of(np.array([unknown_share(text) for text in texts]))
        return cls(
            n=len(texts),
            confidence=UsualSignal.of(confidence),
            characters=UsualSignal.of(np.array([len(text) for text in texts], np.float64)),
            escalated=UsualSignal(edges=(0.5,), shares=(share, 1.0 - share)),
            unknown=unknown,
        )
