"""Proof that a rung keeps the promise: fair where it does not, quick where it does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.promise.monitor import likelihood_ratio
from router.promise.proof import LOWER_ODDS, RungProof, Stakes, first_proved

ALPHA = 0.05


@settings(deadline=None)
@given(st.sampled_from(LOWER_ODDS), st.floats(0.001, 0.9), st.floats(0, 1))
def test_every_bet_is_fair_at_alpha_and_losing_above(odds, alpha, share):
    """The mean of the likelihood ratio is 1 at alpha and at most 1 at every higher rate."""
    rate = alpha + share * (1 - alpha)
    won, lost = (likelihood_ratio(odds, alpha, d) for d in (True, False))
    assert rate * won + (1 - rate) * lost <= 1 + 1e-9
    assert alpha * won + (1 - alpha) * lost == pytest.approx(1)


def _audits_to_proof(stream, level=20.0):
    proof = RungProof.fresh(ALPHA, 1)
    for i, wrong in enumerate(stream):
        proof.observe(bool(wrong), 1, of_all=True)
        if proof.e_value(0) >= level:
            return i + 1
    return None


def test_a_rung_at_the_boundary_is_rarely_proved():
    """At a rate of exactly alpha fewer than 5 % + 3 s.e. of 150 streams of 2,500 are proved."""
    rng = np.random.default_rng(0)
    proved = [_audits_to_proof(rng.random(2500) < ALPHA) is not None for _ in range(150)]
    assert np.mean(proved) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize(("rate", "most"), [(0.0, 120), (0.01, 200), (0.02, 420)])
def test_a_good_rung_is_proved_soon(rate, most):
    """The median is near ln 20 over the divergence, which no test beats by much."""
    rng = np.random.default_rng(1)
    found = [_audits_to_proof(rng.random(4000) < rate) or 10**6 for _ in range(40)]
    assert np.median(found) <= most


def test_a_bad_week_does_not_bury_the_good_one_after_it():
    """After 2,000 audits at 20 % a rate of 1 % is still proved within 600."""
    rng = np.random.default_rng(2)
    found = [
        (_audits_to_proof(np.r_[rng.random(2000) < 0.2, rng.random(3000) < 0.01]) or 10**6) - 2000
        for _ in range(10)
    ]
    assert min(found) > 0
    assert np.median(found) < 600


def test_rungs_are_proved_from_the_strictest_down():
    """A rung below one without evidence waits; each of several promises has to be proved."""
    high, low = Stakes(cash=30.0), Stakes(cash=3.0)
    proof = RungProof(ALPHA, [high, low, high, high])
    assert first_proved([proof], 4, 20.0) == 2
    assert first_proved([proof, RungProof(ALPHA, [low] * 4)], 4, 20.0) == 4
    assert first_proved([RungProof(ALPHA, [high] * 4)], 4, 20.0) == 0


def test_of_the_answers_kept_alone_only_those_count():
    """For the strict promise an audit below a rung says nothing of it."""
    proof = RungProof.fresh(ALPHA, 3)
    proof.observe(True, 1, of_all=False)
    proof.observe(False, 2, of_all=False)
    assert [one.audits for one in proof.stakes] == [2, 1, 0]
    proof.observe(False, 0, of_all=True)
    assert [one.audits for one in proof.stakes] == [3, 2, 1]
