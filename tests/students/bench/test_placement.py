"""The simulated deployments of a threshold: their truth is the one that is drawn from."""

import numpy as np
import pytest

from students.bench.placement import CURVES, Truth, draw


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.95])
def test_truth_is_the_rate_that_draws_show(name, threshold):
    """The integral equals the share of a large draw that is kept and wrong."""
    rows = draw(CURVES[name], 200_000, np.random.default_rng(0))
    kept_wrong = ((rows.confidence >= threshold) & rows.disagree).mean()
    assert Truth.of(CURVES[name]).wrong(threshold) == pytest.approx(kept_wrong, abs=0.003)


def test_truth_of_the_good_ranking_crosses_the_promise_at_75_percent():
    """Keeping the surest 75 % meets 95 % agreement exactly, a little more breaks it."""
    truth = Truth.of(CURVES["good ranking"])
    assert truth.wrong(0.25) / 0.75 == pytest.approx(0.05, abs=1e-4)
    assert truth.wrong(0.24) / 0.76 > 0.05 > truth.wrong(0.26) / 0.74


def test_nothing_kept_is_nothing_broken():
    """A refusal cannot break a promise."""
    assert Truth.of(CURVES["flat .945"]).wrong(2.0) == 0.0
