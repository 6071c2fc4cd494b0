"""Intervals that hold what they promise."""

import pytest

from costmodel.errors import BadProjection
from costmodel.intervals import binomial_interval


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        # Exact values of R's binom.test.
        (50, 1_000, 0.03733539, 0.06539049),
        (0, 10, 0.0, 0.3084971),
        (10, 10, 0.6915029, 1.0),
        (1, 2, 0.01257912, 0.98742088),
    ],
)
def test_exact_binomial_interval(count, n, low, high):
    """Clopper-Pearson, to seven digits."""
    assert binomial_interval(count, n) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(count, n):
    """A share needs rows, and no more hits than rows."""
    with pytest.raises(BadProjection):
        binomial_interval(count, n)
