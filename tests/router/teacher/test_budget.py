"""How much may be spent on escalations, and on which."""

import random
from decimal import Decimal

import pytest

from router.teacher.budget import EscalationBudget
from router.teacher.token_bucket import TokenBucket
from router.testing import ManualClock


def _drive(budget, clock, per_second, seconds, usd=None, rng=None):
    """Demand escalations of random value; returns (values wanted, values allowed)."""
    rng = rng or random.Random(1)
    wanted, allowed = [], []
    for _ in range(int(per_second * seconds)):
        clock.now += 1.0 / per_second
        value = rng.random()
        wanted.append(value)
        if budget.allows(value):
            allowed.append(value)
            budget.spend(usd)
    return wanted, allowed


def test_without_limits_everything_is_allowed():
    """No limit means no limit, also for unpriced calls."""
    clock = ManualClock()
    wanted, allowed = _drive(EscalationBudget(clock=clock), clock, 1000, 10)
    assert wanted == allowed


def test_dollars_an_hour_hold():
    """A flood ten times over budget spends the burst plus the refill, and not a call more."""
    clock = ManualClock()
    budget = EscalationBudget(usd=TokenBucket(36 / 3600, 60, clock()), clock=clock)
    _, allowed = _drive(budget, clock, 100, 600, usd=Decimal("0.001"))
    spent = 0.001 * len(allowed)
    assert spent <= 36 / 3600 * (600 + 60) + 0.001
    assert spent >= 0.9 * 36 / 3600 * 600


def test_calls_a_second_hold():
    """The cap in calls holds for unpriced calls too."""
    clock = ManualClock()
    budget = EscalationBudget(per_second=5.0, burst_s=10, clock=clock)
    _, allowed = _drive(budget, clock, 50, 200)
    assert 0.9 * 5 * 200 <= len(allowed) <= 5 * (200 + 10) + 1


def test_the_scarce_budget_goes_to_the_most_valuable():
    """Under a flood at three times the budget, the allowed are the most valuable."""
    clock = ManualClock()
    budget = EscalationBudget(per_second=10.0, burst_s=10, clock=clock)
    _drive(budget, clock, 30, 60)
    wanted, allowed = _drive(budget, clock, 30, 600)
    affordable = sorted(wanted)[-len(allowed) :]
    assert sum(allowed) / len(allowed) > 0.95 * sum(affordable) / len(affordable)


def test_within_budget_nothing_is_refused():
    """Demand below the refill is never refused, whatever its value."""
    clock = ManualClock()
    budget = EscalationBudget(per_second=10.0, clock=clock)
    wanted, allowed = _drive(budget, clock, 9.0, 600)
    assert wanted == allowed


def test_recovers_when_the_flood_is_over():
    """Once the bucket is full again, everything is allowed."""
    clock = ManualClock()
    budget = EscalationBudget(per_second=10.0, burst_s=10, clock=clock)
    _drive(budget, clock, 100, 60)
    assert budget.fill < 0.6
    clock.now += 20
    assert budget.fill == 1.0
    assert budget.allows(0.0)


def test_debt_is_paid_before_more_is_spent():
    """One call that cost more than the bucket held blocks the next until the refill covers it."""
    clock = ManualClock()
    budget = EscalationBudget(usd=TokenBucket(1.0, 10, clock()), clock=clock)
    assert budget.allows()
    budget.spend(Decimal(15))
    clock.now += 4.9
    assert not budget.allows()
    clock.now += 0.2
    assert budget.allows()


@pytest.mark.parametrize("limit", [{"usd": TokenBucket(0.0, 60, 0.0)}, {"per_second": 0.0}])
def test_a_budget_of_nothing_allows_nothing(limit):
    """Zero is a limit, not the absence of one."""
    assert not EscalationBudget(**limit, clock=ManualClock()).allows()
