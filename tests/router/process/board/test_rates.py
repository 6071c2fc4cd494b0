"""The last minute of all workers, from counts that only grow."""

import pytest

from router.process.board.rates import RecentRates, quantile_ms
from router.telemetry.counters import TallyReading

BOUNDS = [0.001, 0.01, 0.1]


def reading(student, teacher=0, slow=0):
    """A worker that counted so many; the student's take up to 1 ms, `slow` of them up to 10."""
    return TallyReading(
        [("urgent", "student", "confident", student), ("urgent", "teacher", "low", teacher)],
        {"student": [student - slow, slow, 0, 0], "teacher": [0, 0, teacher, 0]},
        BOUNDS,
    )


def test_workers_are_added_up():
    """Two workers for ten seconds: rates are sums, latencies are of all answers together."""
    rates = RecentRates()
    rates.add(0.0, [reading(0), reading(100)])
    assert rates.per_second == {}
    rates.add(10.0, [reading(2000, 10), reading(2100, 10, slow=1000)])
    assert rates.per_second["urgent", "student", "confident"] == 400.0
    assert rates.per_second["urgent", "teacher", "low"] == 2.0
    student = rates.by_route["student"]
    assert (student.per_second, student.n) == (400.0, 4000)
    assert student.p50_ms == pytest.approx(2 / 3)
    assert student.p99_ms == pytest.approx(1 + 9 * 0.96)
    assert rates.by_route["teacher"].p99_ms is None  # of 20 answers


def test_only_the_last_minute_counts():
    """What is older than the window is forgotten."""
    rates = RecentRates(window_s=60.0)
    for second in range(0, 300, 10):
        rates.add(float(second), [reading(1000 * second if second <= 100 else 100_000)])
    assert rates.per_second == {}


def test_a_worker_that_began_anew_has_no_past():
    """Counts that fall are a restart and no negative rate; a worker that is away counts nothing."""
    rates = RecentRates()
    rates.add(0.0, [reading(5000)])
    rates.add(10.0, [reading(10)])
    assert rates.per_second == {}
    rates.add(20.0, [reading(110)])
    assert rates.per_second["urgent", "student", "confident"] == 10.0
    rates.add(30.0, [None])
    assert rates.per_second == {}


def test_no_percentile_beyond_the_highest_bound():
    """Of answers that took longer than any bound nothing is made up."""
    assert quantile_ms(BOUNDS, [0, 0, 0, 100], 0.5) is None
    assert quantile_ms(BOUNDS, [19, 0, 0, 0], 0.5) is None
