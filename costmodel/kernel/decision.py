"""The router's decision: the twin of `router.policy.decide`."""

from __future__ import annotations

import math

from costmodel.kernel.compiled import compiled

KEEP, UNSURE, BROKEN, NOT_A_NUMBER, OUT_OF_BUDGET = 0, 1, 2, 3, 4


@compiled
def decide(failed: bool, confidence: float, threshold: float, budget_ok: bool) -> int:
    """Decide as `router.policy.decide` does; return one of the five codes above."""
    if failed:
        wanted = BROKEN
    elif not math.isfinite(confidence):
        wanted = NOT_A_NUMBER
    elif confidence >= threshold:
        return KEEP
    else:
        wanted = UNSURE
    return wanted if budget_ok else OUT_OF_BUDGET
