"""Durations in milliseconds: percentiles that the sample carries, whole or by stretch of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from loadtests.generator.histogram import Histogram
from loadtests.inputs.percentiles import MIN_SAMPLES, QUANTILES, Percentile


class LatencySummary(BaseModel):
    """Milliseconds; of requests they count from the scheduled instant to the whole answer.

    A percentile is None where the sample is too small to carry it (`n` stands beside it), or where
    it falls among requests that never got an answer.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    mean: float | None
    p50: float | None
    p75: float | None = None
    p90: float | None
    p95: float | None = None
    p99: float | None
    p99_9: float | None = None
    max: float | None

    @classmethod
    def of(cls, answered: Histogram, unanswered: int = 0) -> LatencySummary:
        """Summarise a histogram (≤ 1 % error on percentiles; mean and max are exact).

        `unanswered` requests count as later than every answer; mean and max are of the answers.
        """
        found = {
            name.replace(".", "_"): percentile(answered, name, unanswered)
            for name in QUANTILES
            if name != "max"
        }
        return cls(
            n=answered.n + unanswered,
            mean=milliseconds(answered.mean_s),
            max=milliseconds(answered.max_s if answered.n else math.nan),
            **found,
        )

    def at(self, name: Percentile) -> float | None:
        """Return a percentile by its name."""
        value: float | None = getattr(self, name.replace(".", "_"))
        return value


def percentile(answered: Histogram, name: Percentile, unanswered: int = 0) -> float | None:
    """Return a percentile in milliseconds; None where there is none to speak of."""
    n = answered.n + unanswered
    if n < MIN_SAMPLES[name]:
        return None
    rank = max(1, math.ceil(QUANTILES[name] * n))
    return None if rank > answered.n else milliseconds(answered.quantile(rank / answered.n))


def stretches(
    histograms: Mapping[int, Histogram], needed: int, unanswered: Mapping[int, int] | None = None
) -> list[tuple[int, int, Histogram, int]]:
    """Join neighbouring intervals until each stretch has `needed` samples, or as many as there are.

    Returns (first interval, last interval, answered, unanswered) for each stretch: a percentile of
    an interval that does not carry it would be a guess, and a mean over the run would hide it.
    """
    missing = unanswered or {}
    found: list[tuple[int, int, Histogram, int]] = []
    for k in sorted(histograms.keys() | missing.keys()):
        answered, lost = histograms.get(k, Histogram()), missing.get(k, 0)
        if found and found[-1][2].n + found[-1][3] < needed:
            found[-1] = _joined(found[-1], (k, k, answered, lost))
        else:
            found.append((k, k, total([answered]), lost))
    if len(found) > 1 and found[-1][2].n + found[-1][3] < needed:
        last = found.pop()
        found[-1] = _joined(found[-1], last)
    return found


def _joined(
    a: tuple[int, int, Histogram, int], b: tuple[int, int, Histogram, int]
) -> tuple[int, int, Histogram, int]:
    return a[0], b[1], total([a[2], b[2]]), a[3] + b[3]


def total(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    whole = Histogram()
    for histogram in histograms:
        whole.add(histogram)
    return whole


def milliseconds(seconds: float) -> float | None:
    """Return seconds as milliseconds with four decimals; None for nan."""
    return None if math.isnan(seconds) else round(seconds * 1000, 4)
