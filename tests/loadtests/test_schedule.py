"""Arrivals are fixed by the seed alone."""

import numpy as np
import pytest

from loadtests.schedule import arrivals
from loadtests.spec import LoadSpec


def spec(**settings):
    """A spec with the settings that matter here."""
    base = {"url": "http://127.0.0.1:1", "inputs": "x.csv", "rate": 1000, "duration_s": 20}
    return LoadSpec.model_validate({**base, "warmup_s": 2, **settings})


def test_constant_arrivals_are_evenly_spaced():
    """Constant: exactly rate · duration arrivals, 1 / rate apart, from 0 on."""
    found = [a.offset_s for a in arrivals(spec(arrivals="constant", warmup_s=0), 10)]
    assert len(found) == 20_000
    assert np.allclose(np.diff(found), 0.001)
    assert found[0] == 0.0


def test_poisson_arrivals_have_exponential_gaps():
    """Poisson: count within 4 standard deviations, coefficient of variation of the gaps 1 ± 5 %."""
    found = np.array([a.offset_s for a in arrivals(spec(warmup_s=0), 10)])
    gaps = np.diff(found)
    assert abs(len(found) - 20_000) < 4 * np.sqrt(20_000)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)
    assert found.min() >= 0
    assert found.max() < 20


def test_same_seed_same_traffic_whatever_the_processes():
    """Three workers' shares merge into exactly the traffic of one."""
    one = list(arrivals(spec(), 77))
    shares = [list(arrivals(spec(processes=3), 77, worker)) for worker in range(3)]
    assert sorted(a for share in shares for a in share) == one
    assert min(map(len, shares)) > 0.3 * len(one)


def test_another_seed_is_other_traffic():
    """The seed moves both the instants and the order of the rows."""
    one, other = list(arrivals(spec(), 77)), list(arrivals(spec(seed=1), 77))
    assert [a.offset_s for a in one] != [a.offset_s for a in other]
    assert [a.row for a in one[:77]] != [a.row for a in other[:77]]


def test_window_asks_every_row_once_before_any_twice():
    """With as many arrivals as rows, the window asks each row once."""
    found = list(arrivals(spec(arrivals="constant", rate=100, duration_s=5), 500))
    assert sorted(a.row for a in found if a.offset_s >= 0) == list(range(500))
    assert sum(a.offset_s < 0 for a in found) == 200
    sequential = arrivals(spec(arrivals="constant", order="sequential", warmup_s=0), 7)
    assert [next(sequential).row for _ in range(9)] == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def test_warmup_rows_are_not_asked_in_the_window():
    """When there are rows enough, the warm-up asks others than the window."""
    found = list(arrivals(spec(rate=100, duration_s=5, arrivals="constant"), 1000))
    warm = {a.row for a in found if a.offset_s < 0}
    assert warm & {a.row for a in found if a.offset_s >= 0} == set()
