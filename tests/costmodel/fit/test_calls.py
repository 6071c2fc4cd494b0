"""Teacher calls are taken without the wait for a slot, which the simulator plays."""

import heapq

import numpy as np
import pytest

from costmodel.fit.calls import calls_alone
from costmodel.fit.fitting import fit
from costmodel.fit.measured import MeasuredRun
from costmodel.fit.prediction import predict
from costmodel.inputs.workload import Workload

SLOTS, PATIENCE_S = 8, 0.05


def slots_run(rate, seconds, seed, escalation=0.075, gap_cv=1.0):
    """Measure a student of 1 ms before a teacher of 8 slots: 120 ms in the middle, sigma .5."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(rate * seconds)
    arrived = np.sort(rng.random(n) * seconds)
    stay = 0.001 + 0.0002 * rng.exponential(size=n)
    escalated = rng.random(n) < escalation
    free, calls = [0.0] * SLOTS, []
    for at in arrived[escalated]:
        begin = max(at, free[0])
        if begin - at > PATIENCE_S:
            continue  # degraded
        end = begin + 0.12 * rng.lognormal(0, 0.5)
        heapq.heapreplace(free, end)
        calls.append(end - at + 0.001)
    latency = {"student": np.sort(stay[~escalated]), "teacher": np.sort(calls)}
    usd = {"student": 1e-6, "teacher": 1e-3}
    return MeasuredRun(rate, seconds, latency, usd, gap_cv=gap_cv)


def test_a_wait_for_a_slot_is_no_part_of_a_call():
    """At 1,000/s eight slots are too few; what these calls waited made p99 12 % too high."""
    runs = [slots_run(rate, 60, seed) for seed, rate in enumerate((50, 150, 500, 1000))]
    mean = 0.12 * np.exp(0.125)
    pooled = np.concatenate([run.latency_s["teacher"] for run in runs]) - 0.0012
    assert pooled.mean() > 1.08 * mean
    assert calls_alone(runs, SLOTS, 0.0).mean() == pytest.approx(mean, rel=0.05)


def test_p99_is_predicted_behind_a_teacher_that_was_short_of_slots():
    """The p99 of all answers is a call's; the wait must not be counted twice."""
    runs = [slots_run(rate, 60, seed) for seed, rate in enumerate((50, 150, 500, 1000))]
    truth = np.quantile(slots_run(116, 400, 7).all_s, 0.99)
    seen = predict(fit(runs), Workload(per_second=116), 60)
    assert seen.p99_s.mean == pytest.approx(truth, rel=0.05)


def test_rates_at_which_nobody_waits_are_all_taken():
    """More calls scatter less; clumps wait for an unknown time and are left out."""
    runs = [slots_run(rate, 60, seed) for seed, rate in enumerate((50, 150))]
    clumps = slots_run(100, 60, 5, gap_cv=2.0)
    taken = calls_alone(sorted([*runs, clumps], key=lambda run: run.per_second), SLOTS, 0.0)
    assert taken.size == sum(run.latency_s["teacher"].size for run in runs)
    assert (np.diff(taken) >= 0).all()


def test_audits_take_slots_too():
    """Each keeps a call waiting as an escalation does."""
    few, many = slots_run(50, 60, 0), slots_run(400, 60, 1)
    assert calls_alone([few, many], SLOTS, 0.0).size > few.latency_s["teacher"].size
    assert calls_alone([few, many], SLOTS, 0.08).size == few.latency_s["teacher"].size


def test_without_a_teacher_there_are_no_calls():
    """A student alone has an empty list."""
    assert calls_alone([slots_run(50, 60, 0, escalation=0.0)], SLOTS, 0.0).size == 0
