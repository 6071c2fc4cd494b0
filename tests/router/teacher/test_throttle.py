"""When not to send."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.testing import ManualClock


def _throttle_after(requests, accepts, clock=None, **options):
    throttle = AdaptiveThrottle(clock=clock or ManualClock(), rng=random.Random(1), **options)
    for i in range(requests):
        throttle.record(accepted=i < accepts)
    return throttle


@pytest.mark.parametrize(
    ("requests", "accepts", "expected"),
    [
        (100, 100, 0.0),
        (100, 50, 0.0),
        (100, 49, 2 / 101),
        (100, 10, 80 / 101),
        (100, 0, 0.9),
        (9, 0, 0.0),
        (10, 0, 0.9),
    ],
)
def test_refuses_by_the_formula_of_the_sre_book(requests, accepts, expected):
    """The share is (requests - 2 accepts) / (requests + 1), capped, 0 below ten requests."""
    assert _throttle_after(requests, accepts).refusal_probability == pytest.approx(expected)


def test_window_forgets():
    """What happened a window ago no longer refuses anybody."""
    clock = ManualClock()
    throttle = _throttle_after(100, 0, clock, window_s=10.0)
    clock.now += 8.9
    assert throttle.refusal_probability == pytest.approx(0.9)
    clock.now += 1.2
    assert throttle.refusal_probability == 0.0


def test_opens_probes_and_closes():
    """A dead teacher gets about a tenth of the traffic, and all of it when it is back."""
    clock = ManualClock()
    throttle = AdaptiveThrottle(clock=clock, rng=random.Random(7))

    def second_of_traffic(alive):
        sent = 0
        for _ in range(100):
            clock.now += 0.01
            if not throttle.refuses():
                sent += 1
                throttle.record(accepted=alive)
        return sent

    assert second_of_traffic(alive=True) == 100
    dead = [second_of_traffic(alive=False) for _ in range(15)]
    assert 2 <= dead[-1] <= 25
    back = [second_of_traffic(alive=True) for _ in range(12)]
    assert back[-1] == 100


@given(st.lists(st.sampled_from(["call", "retry"]), max_size=300))
def test_retries_never_exceed_the_budget(events):
    """However calls and retries come, retries stay within reserve + ratio * calls."""
    budget = RetryBudget(ratio=0.1, reserve=3.0)
    calls = retries = 0
    for event in events:
        if event == "call":
            budget.deposit()
            calls += 1
        elif budget.withdraw():
            retries += 1
    assert retries <= 3 + 0.1 * calls + 1e-9


def test_a_quiet_hour_does_not_finance_a_storm():
    """The balance of the retry budget is capped."""
    budget = RetryBudget(ratio=0.1, reserve=0.0, max_balance=10.0)
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 10
