"""Temperature scaling."""

import numpy as np
import pytest

from students.certify.calibration import calibrated_kl, fit_temperature, ranking_kind
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


def test_the_kind_of_confidence_is_the_one_that_ranks_errors_last():
    """Rows whose second label is close are the wrong ones, or those whose first is low."""
    rng = np.random.default_rng(0)
    top = rng.uniform(0.4, 0.9, 2000)
    second = (1 - top) * rng.uniform(0.5, 1.0, 2000)
    p = np.stack([top, second, 1 - top - second], axis=1)
    answer = p.argmax(axis=1)
    close = np.sort(p, axis=1)[:, 1] > np.sort(p, axis=1)[:, 2] - 0.1
    assert ranking_kind(p, np.where(close, (answer + 1) % 3, answer)) == "margin"
    low = top < 0.5
    assert ranking_kind(p, np.where(low, (answer + 1) % 3, answer)) == "max_probability"


def test_margin_is_left_only_for_what_is_shown():
    """Where neither kind ranks better, chance hardly ever takes max probability."""
    rng = np.random.default_rng(1)
    chosen = []
    for _ in range(100):
        p = rng.dirichlet([4, 2, 1], 200)
        wrong = rng.random(200) < 0.2
        chosen.append(ranking_kind(p, np.where(wrong, -1, p.argmax(axis=1))))
    assert chosen.count("margin") > 90
    assert ranking_kind(p, p.argmax(axis=1)) == "margin"  # no wrong row says anything


def test_two_labels_have_one_order_of_rows():
    """Nothing is chosen where there is nothing to choose."""
    p = np.random.default_rng(0).dirichlet([1, 1], 50)
    assert ranking_kind(p, 1 - p.argmax(axis=1)) == "max_probability"
