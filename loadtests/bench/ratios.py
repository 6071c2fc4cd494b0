"""How two that took turns compare, on a machine whose moods are larger than what is asked about."""

from __future__ import annotations

from collections.abc import Sequence

RESAMPLES = 10_000


def ratio_of_pairs(values: Sequence[float], beside: Sequence[float]) -> dict[str, float]:
    """Return the median of the pairs' ratios, and its 95 % interval by bootstrap."""
    import numpy as np

    ratios = np.array(values) / np.array(beside)
    drawn = np.random.default_rng(0).integers(0, ratios.size, (RESAMPLES, ratios.size))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return {
        "ratio": round(float(np.median(ratios)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
