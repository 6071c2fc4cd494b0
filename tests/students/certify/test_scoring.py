"""Scores on arrays, against scikit-learn and by hand."""

import numpy as np
import pytest

from students.certify.scoring import coverage_at_promise, macro_f1


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0)])
def test_coverage_at_promise_counts_kept_disagreements_of_all_rows(alpha, expected):
    """Right, right, wrong, wrong in order; rows of one score stand or fall together."""
    agree = np.array([True, False, True, False])
    confidence = np.array([0.9, 0.7, 0.8, 0.6])
    assert coverage_at_promise(confidence, agree, np.full(4, alpha * 4)) == expected
    assert coverage_at_promise(np.full(4, 0.5), agree, np.full(4, alpha * 4)) == (alpha == 0.5)


def test_macro_f1_is_scikit_learns():
    """Classes that gold lacks do not count; answers outside of gold cost precision nowhere."""
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    gold, said = rng.integers(5, size=300) + 1, rng.integers(8, size=300)
    expected = f1_score(gold, said, labels=np.unique(gold), average="macro")
    assert macro_f1(gold, said) == pytest.approx(expected)
