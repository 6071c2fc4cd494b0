"""Made-up traffic: what is drawn follows the law that the truth is summed over."""

import numpy as np
import pytest

from students.bench.traffic import copied, customers, half_way, templated

TEMPLATED = templated(0.3, 0.2, 0.01)


def test_a_templates_share_is_found_in_what_is_drawn():
    """Three rows in ten are the template, and its texts differ by numbers only."""
    rows = TEMPLATED.draw(20_000, np.random.default_rng(0))
    texts = [TEMPLATED.texts[i] for i in rows]
    assert np.mean([text.startswith("Your parcel") for text in texts]) == pytest.approx(
        0.3, abs=0.02
    )
    assert len(set(TEMPLATED.texts)) == len(TEMPLATED.texts)


@pytest.mark.parametrize(
    "traffic", [TEMPLATED, copied(0.3, 30, 5, 0.02), customers(10_000, 0.1, 40, 0.3, 0.03)]
)
def test_a_student_is_wrong_as_often_as_the_law_says(traffic):
    """Summed over the law, errors are the chances given, and the surest answers have fewest."""
    student = traffic.student(np.random.default_rng(1))
    assert traffic.late.sum() == pytest.approx(1.0)
    assert traffic.late @ student.wrong == pytest.approx(traffic.late @ traffic.wrong, abs=0.01)
    unsure = traffic.wrong < 1
    assert student.confidence[unsure & student.wrong].mean() < 0.4


def test_traffic_that_changed_half_way_is_old_before_and_new_after():
    """No template in the first half of a pile, its whole share in the second."""
    traffic = templated(0.3, 0.2, 0.01, half_way)
    template = [traffic.texts[i].startswith("Your") for i in traffic.draw(10_000, _rng())]
    assert np.mean(template[:5000]) == 0.0
    assert np.mean(template[5000:]) == pytest.approx(0.3, abs=0.03)


def test_customers_come_with_all_their_texts():
    """Whole customers are drawn, and together they hold about as many rows as were asked for."""
    traffic = customers(10_000, 0.1, 40, 0.3, 0.03)
    assert traffic.group is not None
    rows = traffic.draw(5000, _rng())
    assert 4000 < len(rows) < 6000
    drawn, count = np.unique(traffic.group[rows], return_counts=True)
    assert (count == np.bincount(traffic.group)[drawn]).all()


def test_what_was_learnt_is_known():
    """A student that has seen a text is right on it, and says the teacher's label."""
    student = TEMPLATED.student(_rng())
    seen = np.flatnonzero(student.wrong)[:50]
    taught = student.having_learnt(seen)
    assert (taught.says(TEMPLATED)[seen] == TEMPLATED.teacher[seen]).all()
    assert (student.says(TEMPLATED)[seen] != TEMPLATED.teacher[seen]).all()
    assert taught.wrong.sum() == student.wrong.sum() - 50


def _rng() -> np.random.Generator:
    return np.random.default_rng(2)
