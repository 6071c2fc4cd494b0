"""e-BH over the promises of a bundle."""

import numpy as np
import pytest

from router.promise.ebh import rejected
from router.promise.monitor import Monitor


@pytest.mark.parametrize(
    ("e_values", "broken"),
    [
        ({"": 19.0}, set()),
        ({"": 20.0}, {""}),
        ({"": 39.0, "a": 1.0}, set()),
        ({"": 1.0, "a": 40.0}, {"a"}),
        ({"": 20.0, "a": 20.0}, {"", "a"}),
        ({"": 30.0, "a": 30.0, "b": 20.0}, {"", "a", "b"}),
        ({"": 30.0, "a": 30.0, "b": 0.0}, {"", "a"}),
    ],
)
def test_the_k_largest_need_n_over_k_delta(e_values, broken):
    """By hand at delta = .05: n promises need n / .05 alone, and less together."""
    assert rejected(e_values, 0.05) == broken


def test_false_alarms_over_classes_stay_rare():
    """Ten classes at exactly alpha: fewer than 5 % + 3 s.e. of 100 lives ever reject one."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        monitors = {str(c): Monitor(0.05) for c in range(10)}
        for _ in range(1_500):
            monitors[str(rng.integers(10))].observe(bool(rng.random() < 0.05), 0.01)
            if rejected({c: m.state.e_value for c, m in monitors.items()}, 0.05):
                alarms += 1
                break
    assert alarms <= 11
