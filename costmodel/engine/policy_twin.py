"""The router's decision as the simulator takes it, named in the router's own words.

The kernel cannot import the router (the arrow points the other way), so it carries a twin of
`router.policy.decide`; the two are tested equal on random decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from costmodel.kernel import decision

WORDS: dict[int, tuple[bool, str]] = {
    decision.KEEP: (False, "confident"),
    decision.UNSURE: (True, "low_confidence"),
    decision.BROKEN: (True, "student_error"),
    decision.NOT_A_NUMBER: (True, "nan_confidence"),
    decision.OUT_OF_BUDGET: (False, "escalation_budget"),
}
"""Code of the kernel → whether the teacher is asked, and the reason's word."""


def decide(
    label: int | None, confidence: float, thresholds: Sequence[float], budget_ok: bool = True
) -> tuple[bool, str]:
    """Decide one request; `label` None means that the student failed.

    Returns:
        Whether the teacher is asked, and why or why not.
    """
    threshold = thresholds[label] if label is not None else math.inf
    return WORDS[decision.decide(label is None, confidence, threshold, budget_ok)]
