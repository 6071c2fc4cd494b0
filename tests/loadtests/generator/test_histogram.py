"""The log histogram is exact to 1 %."""

import json
import math

import numpy as np
import pytest

from loadtests.generator.histogram import Histogram


def filled(values):
    """A histogram of these seconds."""
    histogram = Histogram()
    for value in values:
        histogram.record(float(value))
    return histogram


@pytest.mark.parametrize("scale_s", [200e-6, 0.003, 0.5, 40.0])
def test_quantiles_are_within_one_percent(scale_s):
    """From microseconds to minutes every quantile is within 1 % of NumPy's nearest rank."""
    values = np.random.default_rng(0).lognormal(math.log(scale_s), 0.8, 20_000)
    histogram = filled(values)
    for q in (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert histogram.quantile(q) == pytest.approx(exact, rel=0.01)
    assert histogram.mean_s == pytest.approx(values.mean())
    assert histogram.max_s == values.max()


def test_sum_of_parts_is_the_whole():
    """Workers' histograms, sent as JSON, add up to the histogram of all values."""
    values = np.random.default_rng(1).exponential(0.01, 999)
    total = Histogram()
    for part in np.array_split(values, 3):
        total.add(Histogram.load(json.loads(json.dumps(filled(part).dump()))))
    whole = filled(values)
    assert (total.counts == whole.counts).all()
    assert total.max_s == whole.max_s
    assert total.sum_s == pytest.approx(whole.sum_s)


def test_empty_and_extreme_values():
    """Nothing recorded is nan; zero, negative and absurd durations are counted, not lost."""
    assert math.isnan(Histogram().quantile(0.5))
    assert math.isnan(Histogram().mean_s)
    histogram = filled([0.0, -1.0, 1e9])
    assert histogram.n == 3
    assert histogram.max_s == 1e9


def test_share_within_a_deadline():
    """The share of durations up to a deadline is what was put in, away from bucket edges."""
    histogram = filled([0.010] * 90 + [0.100] * 10)
    assert histogram.share_within(0.05) == 0.9
    assert histogram.share_within(0.2) == 1.0
    assert histogram.share_within(0.005) == 0.0
