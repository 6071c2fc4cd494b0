"""The rule on columns is the rule on one request, and audits are drawn by number and seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.batch.deciding import draws
from router.policy import KEEP, REASONS, decide, keeps, why_escalated
from students.labels import Prediction

SURE = st.one_of(st.floats(0, 1, width=32), st.sampled_from([float("nan"), float("inf"), 0.8]))


@given(st.lists(st.tuples(st.integers(-1, 2), SURE), min_size=1, max_size=50))
def test_the_rule_on_columns_is_the_rule_on_one(rows):
    """`keeps` says of every row what `decide` says, failures and confidences that are none too."""
    thresholds = (0.5, float(np.float32(0.8)), 2.0)
    labels = np.array([label for label, _ in rows])
    sure = np.array([confidence for _, confidence in rows], np.float32)
    none = np.empty(0, np.float32)
    one_by_one = [
        decide(None if k < 0 else Prediction(k, c, none), thresholds) is KEEP
        for k, c in zip(labels.tolist(), sure.tolist(), strict=True)
    ]
    assert keeps(labels, sure, thresholds).tolist() == one_by_one


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_a_share_is_drawn_whatever_the_chunks_are(seed):
    """The draw of a row depends on its number and the seed, and comes to the rate."""
    whole = draws(0, 100_000, 0.05, seed)
    assert whole.mean() == pytest.approx(0.05, abs=0.004)
    parts = [draws(start, 1_000, 0.05, seed) for start in range(0, 100_000, 1_000)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not draws(0, 1_000, 0.0, seed).any()
    assert draws(0, 1_000, 1.0, seed).all()
    assert not np.array_equal(whole, draws(0, 100_000, 0.05, seed + 1))


@given(st.lists(st.tuples(st.integers(-1, 2), SURE), min_size=1, max_size=50))
def test_the_reason_on_columns_is_the_reason_on_one(rows):
    """`why_escalated` gives every row that is not kept the reason that `decide` gives it."""
    thresholds = (0.5, float(np.float32(0.8)), 2.0)
    labels = np.array([label for label, _ in rows])
    sure = np.array([confidence for _, confidence in rows], np.float32)
    none = np.empty(0, np.float32)
    reasons = why_escalated(labels, sure)
    for k, c, reason in zip(labels.tolist(), sure.tolist(), reasons.tolist(), strict=True):
        decision = decide(None if k < 0 else Prediction(k, c, none), thresholds)
        assert decision is KEEP or decision.reason is REASONS[reason]
