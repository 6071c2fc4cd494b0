"""Temperature scaling."""

import numpy as np
import pytest

from students.certify.calibration import calibrated_kl, fit_temperature
from students.confidence import softmax

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2000, 5)) * 3


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_that_was_put_in_is_found(factor):
    """Logits scaled by a factor are scaled back."""
    assert fit_temperature(LOGITS * factor, softmax(LOGITS)) == pytest.approx(factor, rel=0.01)


def test_overconfidence_learned_on_training_rows_is_seen_on_others():
    """Hard labels drawn from softmax(logits / 2): T = 2 within its error."""
    p = softmax(LOGITS, 2.0)
    drawn = np.array([RNG.choice(5, p=row) for row in p])
    assert fit_temperature(LOGITS, np.eye(5)[drawn]) == pytest.approx(2.0, rel=0.1)


def test_kl_is_zero_for_a_perfect_student_at_any_scale():
    """Comparing students by KL does not depend on how sharp they were trained."""
    p = softmax(LOGITS)
    assert calibrated_kl(LOGITS * 3, p) == pytest.approx(0.0, abs=1e-4)
    assert calibrated_kl(np.zeros_like(LOGITS), p) > 0.9


def test_label_mass_weighs_rows_and_nothing_more():
    """Rows that keep half their mass count half: scaling all of them changes nothing."""
    p = softmax(LOGITS, 2.0)
    assert fit_temperature(LOGITS, p * 0.5) == pytest.approx(fit_temperature(LOGITS, p), rel=1e-3)
    assert fit_temperature(LOGITS[:0], p[:0]) == 1.0
