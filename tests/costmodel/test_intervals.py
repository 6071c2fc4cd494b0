"""Intervals that hold what they promise."""

import functools

import numpy as np
import pytest

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


RATES = {
    "one": np.full(1_000, 0.05),
    "drifting": np.where(np.arange(1_000) < 400, 0.02, 0.15),
    "by turns": np.where(np.arange(1_000) % 2, 0.0, 0.3),
}


@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_a_sequence_covers_at_every_look_at_once(rates):
    """Of 200 lives looked at again and again, at most 5 % ever miss the mean of the rates so far.

    Looked at after 1, 2, 4, 8, … rows and after every 50th.
    """
    looks = sorted({2**i for i in range(10)} | set(range(50, 1_001, 50)))
    means = np.cumsum(rates) / np.arange(1, 1_001)
    rng = np.random.default_rng(7)
    hits = np.cumsum(rng.random((200, 1_000)) < rates, axis=1)
    covered = functools.cache(confidence_sequence)
    missed = 0
    for life in hits:
        found = ((covered(int(life[n - 1]), n), means[n - 1]) for n in looks)
        missed += not all(low <= mean <= high for (low, high), mean in found)
    assert missed <= 10


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
