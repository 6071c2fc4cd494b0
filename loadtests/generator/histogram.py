"""A log histogram of seconds: any range, ≤ 1 % error, adds up exactly across processes.

Buckets grow by 2 %, so the geometric middle of a bucket is within sqrt(1.02) - 1 = 0.995 % of every
value in it (the HDR idea, Tene; the layout of DDSketch, Masson et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

GROWTH = 1.02
LOWEST_S = 1e-6
BUCKETS = 1200
"""1 µs · 1.02^1200 ≈ 5.9 hours; anything outside falls into the first or last bucket."""

_PER_LOG = 1.0 / math.log(GROWTH)
_OFFSET = -math.log(LOWEST_S) * _PER_LOG
_MIDDLES = LOWEST_S * GROWTH ** (np.arange(BUCKETS) + 0.5)


class Histogram:
    """Counts of durations in seconds, with the exact sum and maximum."""

    __slots__ = ("_counts", "max_s", "sum_s")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS  # counting in a list costs a quarter of counting in an array
        self.max_s = 0.0
        self.sum_s = 0.0

    @property
    def n(self) -> int:
        """How many durations were recorded."""
        return sum(self._counts)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many durations each bucket holds."""
        return np.array(self._counts, dtype=np.int64)

    @property
    def mean_s(self) -> float:
        """The exact mean; nan when empty."""
        return self.sum_s / self.n if self.n else math.nan

    def record(self, seconds: float) -> None:
        """Count one duration; below 1 µs counts as 1 µs."""
        bucket = int(math.log(seconds) * _PER_LOG + _OFFSET) if seconds > LOWEST_S else 0
        self._counts[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
        self.sum_s += seconds
        if seconds > self.max_s:
            self.max_s = seconds

    def add(self, other: Histogram) -> None:
        """Take in another histogram's counts."""
        both = zip(self._counts, other._counts, strict=True)
        self._counts = [mine + theirs for mine, theirs in both]
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    def quantile(self, q: float) -> float:
        """Return the nearest-rank quantile in seconds, q in [0, 1]; nan when empty."""
        n = self.n
        if n == 0:
            return math.nan
        rank = max(1, math.ceil(q * n))
        if rank == n:
            return self.max_s
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(float(_MIDDLES[bucket]), self.max_s)

    def share_within(self, seconds: float) -> float:
        """Return the share of durations up to `seconds`; nan when empty."""
        n = self.n
        return float(self.counts[seconds >= _MIDDLES].sum()) / n if n else math.nan

    def cdf(self) -> list[tuple[float, float]]:
        """Return (seconds, share of durations up to them) for each bucket that is not empty."""
        counts = self.counts
        filled = np.flatnonzero(counts)
        shares = np.cumsum(counts[filled]) / max(1, self.n)
        return list(zip(_MIDDLES[filled].tolist(), shares.tolist(), strict=True))

    def dump(self) -> dict[str, object]:
        """Return JSON-able content: the buckets that are not empty."""
        return {
            "buckets": {str(i): count for i, count in enumerate(self._counts) if count},
            "sum_s": self.sum_s,
            "max_s": self.max_s,
        }

    @classmethod
    def load(cls, content: Mapping[str, object]) -> Histogram:
        """Rebuild from `dump`."""
        histogram = cls()
        buckets = content["buckets"]
        assert isinstance(buckets, Mapping)
        for bucket, count in buckets.items():
            histogram._counts[int(bucket)] = count
        histogram.sum_s = float(str(content["sum_s"]))
        histogram.max_s = float(str(content["max_s"]))
        return histogram
