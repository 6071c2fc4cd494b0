"""The one decision: boundaries in pairs, broken numbers never count as sure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from router.policy import Decision, Reason, decide
from students.labels import Prediction

THRESHOLDS = (0.9, 0.5)


def said(label, confidence):
    """A prediction of that label."""
    return Prediction(label, confidence, np.array([0.5, 0.5], dtype=np.float32))


@pytest.mark.parametrize(
    ("label", "confidence", "expected"),
    [
        (0, 0.9, Decision(False, Reason.CONFIDENT)),
        (0, math.nextafter(0.9, 0), Decision(True, Reason.LOW_CONFIDENCE)),
        (1, 0.5, Decision(False, Reason.CONFIDENT)),
        (1, math.nextafter(0.5, 0), Decision(True, Reason.LOW_CONFIDENCE)),
    ],
)
def test_the_threshold_of_the_predicted_label_decides(label, confidence, expected):
    """At its label's threshold the student answers, one float below it raises its hand."""
    assert decide(said(label, confidence), THRESHOLDS) == expected


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_confidence_that_is_no_number_is_escalated(broken):
    """NaN and the infinities go to the teacher, whatever the threshold."""
    assert decide(said(0, broken), (0.0, 0.0)) == Decision(True, Reason.NAN_CONFIDENCE)


def test_a_text_out_of_scope_is_escalated_with_its_own_reason():
    """However low the thresholds are: it has no confidence to compare."""
    outside = Prediction(0, math.nan, np.array([1.0, 0.0], np.float32), in_scope=False)
    assert decide(outside, (0.0, 0.0)) == Decision(True, Reason.OUT_OF_SCOPE)


def test_a_failed_student_is_escalated():
    """No prediction means the teacher is asked."""
    assert decide(None, THRESHOLDS) == Decision(True, Reason.STUDENT_ERROR)


@pytest.mark.parametrize("prediction", [None, said(0, 0.1), said(0, math.nan)])
def test_without_budget_nobody_is_escalated(prediction):
    """The escalation budget is a cap: nothing that would escalate gets past it."""
    assert decide(prediction, THRESHOLDS, budget_ok=False) == Decision(
        False, Reason.ESCALATION_BUDGET
    )


def test_a_sure_student_needs_no_budget():
    """A kept answer is kept whether or not there is a budget."""
    assert decide(said(0, 0.95), THRESHOLDS, budget_ok=False) == Decision(False, Reason.CONFIDENT)
