"""Who answers: the one decision of the product, pure and small.

Every outcome has a named reason; the same word is the metric label, the ledger column and the
`x-raisehand-reason` header.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from students.labels import LabelDistribution, Prediction


class Route(StrEnum):
    """Who gave the answer."""

    STUDENT = "student"
    TEACHER = "teacher"
    DEGRADED = "degraded"
    """The student's answer although it was not sure, because the teacher could not be asked."""
    REFUSED = "refused"
    """Nobody: the request was turned away; the reason says why."""


class Reason(StrEnum):
    """Why that one answered, or why nobody did."""

    CONFIDENT = "confident"
    STUDENT_ONLY = "student_only"
    """The request asks the student alone, however sure it is."""
    LOW_CONFIDENCE = "low_confidence"
    STUDENT_ERROR = "student_error"
    NAN_CONFIDENCE = "nan_confidence"
    OUT_OF_SCOPE = "out_of_scope"
    """The text is unlike all that the student has learnt from."""
    PROMISE_BROKEN = "promise_broken"
    """Audits say that the certificate no longer holds: everything escalates."""
    TEACHER_UNAVAILABLE = "teacher_unavailable"
    TEACHER_TIMEOUT = "teacher_timeout"
    TEACHER_THROTTLED = "teacher_throttled"
    TEACHER_GARBLED = "teacher_garbled"
    TEACHER_REJECTED = "teacher_rejected"
    TEACHER_UNSURE = "teacher_unsure"
    """It answered, and the answer is no label."""
    TEACHER_REFUSED = "teacher_refused"
    """Asked, it would not answer: its own words or a content filter say so."""
    TEACHER_BUSY = "teacher_busy"
    BREAKER_OPEN = "breaker_open"
    RETRY_BUDGET = "retry_budget"
    ESCALATION_BUDGET = "escalation_budget"
    KEY_ESCALATIONS = "key_escalations"
    """The API key has asked the teacher as often as it may."""
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    CLIENT_GONE = "client_gone"
    ROUTER_STOPPED = "router_stopped"
    """It took longer than a stopping router waits."""
    STUDENT_UNAVAILABLE = "student_unavailable"
    PASSTHROUGH = "passthrough"
    TEACHER_CHECK = "teacher_check"
    """No request: a row on record, asked about again to see whether the teacher has changed."""
    NO_TEXT = "no_text"
    """The row of a table is empty, or holds something that is no text."""


ROUTES, REASONS = tuple(Route), tuple(Reason)
"""In the order of their codes in columns."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the teacher is to be asked, and why (or why not).

    KEEP and STUDENT_ALONE take the student's answer. Any other `escalate=False` means: the teacher
    was wanted but may not be asked; the student's answer, where there is one, is degraded.
    """

    escalate: bool
    reason: Reason


KEEP = Decision(False, Reason.CONFIDENT)
STUDENT_ALONE = Decision(False, Reason.STUDENT_ONLY)
UNSURE = Decision(True, Reason.LOW_CONFIDENCE)
BROKEN = Decision(True, Reason.STUDENT_ERROR)
OUTSIDE = Decision(True, Reason.OUT_OF_SCOPE)
NOT_A_NUMBER = Decision(True, Reason.NAN_CONFIDENCE)
PROMISE_BROKEN = Decision(True, Reason.PROMISE_BROKEN)
OUT_OF_BUDGET = Decision(False, Reason.ESCALATION_BUDGET)
OVER_THE_KEYS = Decision(False, Reason.KEY_ESCALATIONS)


def decide(
    prediction: Prediction | None, thresholds: Sequence[float], budget_ok: bool = True
) -> Decision:
    """Decide one request.

    Args:
        prediction: what the student said; None when it failed.
        thresholds: shape (K,), by predicted label: the student answers at or above its label's one.
        budget_ok: whether the escalation budget allows asking the teacher now.

    Returns:
        KEEP when the student is sure enough; otherwise an escalation with its reason, or
        OUT_OF_BUDGET. A confidence that is not a number never counts as sure.
    """
    if prediction is None:
        wanted = BROKEN
    elif not prediction.in_scope:
        wanted = OUTSIDE
    elif not math.isfinite(prediction.confidence):
        wanted = NOT_A_NUMBER
    elif prediction.confidence >= thresholds[prediction.label]:
        return KEEP
    else:
        wanted = UNSURE
    return wanted if budget_ok else OUT_OF_BUDGET


def keeps(
    labels: npt.NDArray[np.integer],
    confidences: npt.NDArray[np.floating],
    thresholds: Sequence[float],
) -> npt.NDArray[np.bool_]:
    """Say which of many predictions `decide` keeps, (N,): the same rule, on columns.

    Args:
        labels: (N,), below 0 where the student failed.
        confidences: (N,).
        thresholds: as for `decide`.
    """
    sure = confidences.astype(np.float64) >= np.asarray(thresholds, np.float64)[labels]
    kept: npt.NDArray[np.bool_] = sure & np.isfinite(confidences) & (labels >= 0)
    return kept


def why_escalated(
    labels: npt.NDArray[np.integer], confidences: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """Say why `decide` escalates predictions that it does not keep, (N,): places in `REASONS`."""
    finite = np.isfinite(confidences)
    found: npt.NDArray[np.int64] = np.where(
        labels < 0,
        REASONS.index(BROKEN.reason),
        np.where(finite, REASONS.index(UNSURE.reason), REASONS.index(NOT_A_NUMBER.reason)),
    )
    return found


def why_unusable(answer: LabelDistribution) -> Reason | None:
    """Say why the teacher's answer is no answer of the task; None where it means a label."""
    if answer.label is not None:
        return None
    return Reason.TEACHER_REFUSED if answer.refused else Reason.TEACHER_UNSURE
