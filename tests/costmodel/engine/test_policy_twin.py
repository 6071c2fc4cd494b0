"""The simulator decides exactly as the router does."""

import inspect
import math

import numpy as np

from costmodel.engine import policy_twin
from costmodel.inputs.asking import SLOT_WAIT_S
from router.policy import decide
from router.teacher.guard import EscalationGuard
from students.labels import Prediction

EDGES = (0.0, 1.0, 0.5, np.nextafter(0.5, 0), np.nextafter(0.5, 1), math.nan, math.inf, -math.inf)


def test_twin_and_router_agree_on_a_hundred_thousand_decisions():
    """Random and edge confidences, per-class thresholds, failures, on and off budget: all equal."""
    rng, n, k = np.random.default_rng(0), 100_000, 7
    confidences = np.where(rng.random(n) < 0.2, rng.choice(EDGES, n), rng.random(n)).tolist()
    labels = np.where(rng.random(n) < 0.05, -1, rng.integers(k, size=n)).tolist()
    edges = rng.choice([0.0, 0.5, 1.0, math.inf], (n, k))
    thresholds = np.where(rng.random((n, k)) < 0.5, edges, rng.random((n, k))).tolist()
    budgets = (rng.random(n) < 0.5).tolist()
    nothing = np.zeros(k, np.float32)
    different, seen = 0, set()
    for label, confidence, bars, budget_ok in zip(
        labels, confidences, thresholds, budgets, strict=True
    ):
        prediction = None if label < 0 else Prediction(label, confidence, nothing)
        router = decide(prediction, bars, budget_ok)
        twin = policy_twin.decide(None if label < 0 else label, confidence, bars, budget_ok)
        different += (router.escalate, str(router.reason)) != twin
        seen.add(twin)
    assert different == 0
    assert len(seen) == len(policy_twin.WORDS)


def test_the_prediction_waits_for_a_slot_as_long_as_the_router():
    """The patience that a prediction assumes is the one that the router's guard has."""
    assert inspect.signature(EscalationGuard).parameters["max_wait_s"].default == SLOT_WAIT_S
