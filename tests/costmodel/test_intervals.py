"""Intervals that hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from costmodel.errors import BadProjection
from costmodel.intervals import binomial_interval, confidence_sequence


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


def test_a_sequence_covers_at_every_look_at_once():
    """Of 1,000 lives looked at after each of 1,000 rows, at most 5 % ever miss the truth."""
    rate, n = 0.05, 1_000
    # The mixture's martingale at the truth: an interval misses it where this reaches 20.
    looks = np.arange(1, n + 1)
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(1_000):
        hits = np.cumsum(rng.random(n) < rate)
        log_e = -np.log(looks + 1) - stats.binom.logpmf(hits, looks, rate)
        worst = int(log_e.argmax())
        low, high = confidence_sequence(int(hits[worst]), worst + 1)
        assert (low <= rate <= high) == (log_e[worst] < np.log(20))
        missed += not low <= rate <= high
    assert missed <= 50


@pytest.mark.parametrize(("count", "n"), [(0, 40), (40, 40), (1, 1), (3, 10_000_000), (500, 1_000)])
def test_a_sequence_is_wider_than_one_look_allows(count, n):
    """Looking often has its price, and the estimate is always inside."""
    low, high = confidence_sequence(count, n)
    exact = binomial_interval(count, n)
    assert low - 1e-9 <= exact[0] <= count / n <= exact[1] <= high


def test_a_sequence_of_nothing_says_nothing():
    """Before the first row everything is possible; impossible counts are refused."""
    assert confidence_sequence(0, 0) == (0.0, 1.0)
    with pytest.raises(BadProjection):
        confidence_sequence(2, 1)
