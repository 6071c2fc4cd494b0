"""The drift alarm: rarely wrong however long one looks, quick when the promise breaks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.promise.monitor import ODDS, Evidence, Monitor, Status, likelihood_ratio, starting_share

ALPHA = 0.05


def _audits_to_alarm(disagreed, alpha=ALPHA):
    """Run one stream of audits through a monitor; None when it never alarms."""
    monitor = Monitor(alpha)
    for i, one in enumerate(disagreed):
        if monitor.observe(bool(one), 0.01).status is Status.ALARM:
            return i + 1
    return None


def _streams(rate, runs, length, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(length) < rate for _ in range(runs))


@settings(deadline=None)
@given(st.sampled_from(ODDS), st.floats(0.001, 0.9), st.floats(0, 1))
def test_every_bet_is_fair_at_alpha_and_losing_below(odds, alpha, share):
    """The mean of the likelihood ratio is 1 at alpha and at most 1 at every lower rate."""
    rate = share * alpha
    won, lost = (likelihood_ratio(odds, alpha, d) for d in (True, False))
    assert rate * won + (1 - rate) * lost <= 1 + 1e-9
    assert alpha * won + (1 - alpha) * lost == pytest.approx(1)


def test_stakes_of_all_starting_times_sum_to_the_wealth():
    """The shares telescope to 1, so that nothing is bet that is not there."""
    total = sum(starting_share(block) for block in range(100_000))
    assert 0.94 < total < 1
    assert all(starting_share(block) > 0 for block in (0, 1, 10**6))


def test_false_alarms_stay_rare_over_a_long_life():
    """At a rate of exactly alpha fewer than 5 % + 3 s.e. of 150 lives of 2,500 audits alarm."""
    alarms = [_audits_to_alarm(s) is not None for s in _streams(ALPHA, 150, 2500)]
    assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize(("rate", "median"), [(0.10, 148), (0.15, 50)])
def test_a_broken_promise_is_seen_soon(rate, median):
    """The median delay is that of a plain e-process from the start, with a third to spare."""
    delays = [_audits_to_alarm(s) or 10**6 for s in _streams(rate, 100, 3000, seed=1)]
    assert np.median(delays) <= median * 4 / 3


def test_good_months_do_not_bury_a_bad_day():
    """After 5,000 good audits a fall to 15 % disagreement is still seen within 400 audits."""
    rng = np.random.default_rng(2)
    delays = []
    for _ in range(10):
        stream = np.r_[rng.random(5000) < 0.02, rng.random(2000) < 0.15]
        delays.append((_audits_to_alarm(stream) or 10**6) - 5000)
    assert min(delays) > 0
    assert np.median(delays) < 400


def test_an_alarm_is_final():
    """Agreement afterwards does not take an alarm back: only another certificate does."""
    monitor = Monitor(ALPHA)
    for _ in range(30):
        monitor.observe(True, 0.01)
    assert monitor.alarmed
    for _ in range(500):
        state = monitor.observe(False, 0.01)
    assert state.status is Status.ALARM


def test_no_audits_no_evidence():
    """Before the first audit there is no estimate and the e-value is 1."""
    state = Monitor(ALPHA).state
    assert (state.status, state.audits, state.disagreement) == (Status.WATCHING, 0, None)
    assert state.e_value == 1.0


def test_estimate_weighs_by_propensity():
    """Horvitz-Thompson: a disagreement drawn at 1 % stands for ten times one drawn at 10 %."""
    monitor = Monitor(ALPHA)
    monitor.observe(True, 0.01)
    state = monitor.observe(False, 0.1)
    assert state.disagreement == pytest.approx(100 / 110)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.1, math.nan])
def test_an_impossible_propensity_is_refused(propensity):
    """What could not have been drawn cannot be weighed."""
    with pytest.raises(ValueError, match="propensity"):
        Monitor(ALPHA).observe(True, propensity)
    assert Monitor(ALPHA).observe(True, 1.0).audits == 1


def test_a_restart_forgets_nothing():
    """Evidence goes through JSON and the next audit gives the same state."""
    monitor = Monitor(ALPHA)
    for i in range(120):
        monitor.observe(i % 9 == 0, 0.02)
    resumed = Monitor.resume(Evidence.model_validate_json(monitor.evidence.model_dump_json()))
    assert resumed.state == monitor.state
    assert resumed.observe(True, 0.02) == monitor.observe(True, 0.02)
