"""Another teacher behind the same name is told from the same one's doubt."""

import math
import random

import numpy as np
import pytest

from router.errors import BadSettings
from router.promise.same_teacher import SameTeacher, drawn


def known(repeated=200, agreed=200):
    """A teacher that agreed with itself so often."""
    return SameTeacher.of("labels", repeated, agreed)


def test_what_is_allowed_is_its_own_doubt():
    """The exact 99 % bound of the answers that changed when it was asked twice."""
    assert known().allowed == pytest.approx(1 - 0.01 ** (1 / 200))
    assert known(200, 190).allowed == pytest.approx(0.097, abs=0.005)


@pytest.mark.parametrize("agreed", [0])
def test_without_repeats_nothing_can_be_told(agreed):
    """It is said what to run."""
    for repeated in (0, 20):
        with pytest.raises(BadSettings, match="--repeats"):
            SameTeacher.of("labels", repeated, agreed)


def test_the_same_teacher_is_rarely_called_another():
    """At exactly what is allowed, fewer than 1 % + 3 s.e. of 150 lives of 1,500 rows."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(150):
        one = known(200, 196)
        differ = rng.random(1_500) < one.allowed
        called += one.compared([(0, int(d)) for d in differ]).changed
    assert called / 150 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 150)


@pytest.mark.parametrize(("rate", "rows"), [(0.10, 200), (0.15, 100), (0.30, 40)])
def test_another_teacher_is_told_within_some_nights(rate, rows):
    """Half of the teachers that differ so often, of one that never did, within so many rows."""
    rng = np.random.default_rng(1)
    told = [
        known().compared([(0, int(d)) for d in rng.random(rows) < rate]).changed for _ in range(40)
    ]
    assert np.mean(told) >= 0.5


def test_nights_add_up():
    """Evidence goes on in the next run."""
    first = known().compared([(0, 0)] * 50 + [(0, 1)] * 3)
    again = SameTeacher.model_validate_json(first.model_dump_json())
    assert again.compared([(0, 1)]).figures["compared"] == 54


def test_rows_are_drawn_from_those_given_with_replacement():
    """Each night asks about others; a small set can be asked about often."""
    rows = drawn([3, 5, 7], 300, random.Random(0))
    assert set(rows) == {3, 5, 7}
    assert len(rows) == 300
