"""The judge of a bundle: what counts, and how often it is wrong, however many workers tell it."""

import math

import msgspec
import numpy as np
import pytest

from router.promise.watch import judged_by
from router.testing import sample_audit

ALPHA = 0.05


@pytest.mark.parametrize("workers", [1, 4, 8, 16])
def test_false_alarms_do_not_grow_with_the_workers(workers):
    """100 lives of 1,500 audits at exactly 5 %, folded in batches as workers come: at most 5 %.

    Each batch finds the evidence as the one before it left it in the store.
    """
    reopen = judged_by("strict", 1 - ALPHA)
    rng = np.random.default_rng(workers)
    agreed = sample_audit()
    outcomes = {False: agreed, True: msgspec.structs.replace(agreed, disagreed=True)}
    alarms = 0
    for _ in range(100):
        waiting = [[] for _ in range(workers)]
        evidence = None
        for _ in range(1_500):
            mine = waiting[rng.integers(workers)]
            mine.append(outcomes[bool(rng.random() < ALPHA)])
            if len(mine) == 10:
                judge = reopen(evidence)
                for audit in mine:
                    judge.observe(audit)
                mine.clear()
                evidence = judge.evidence
        alarms += judge.verdict.escalate_all
    assert alarms / 100 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 100)


@pytest.mark.parametrize(("promise", "counted"), [("system", 1), ("strict", 0)])
def test_what_was_escalated_agrees_whatever_the_student_would_have_said(promise, counted):
    """The teacher's answer was served; the strict promise is about answers kept alone."""
    judge = judged_by(promise, 0.95)(None)
    judge.observe(sample_audit(escalated=True, disagreed=True))
    figures = judge.verdict.figures
    assert (figures["audits"], figures["disagreements"]) == (counted, 0)


def test_an_alarm_is_final():
    """What comes later proves nothing: everything escalates by then."""
    judge = judged_by("strict", 0.95)(None)
    while not judge.verdict.escalate_all:
        judge.observe(sample_audit(disagreed=True))
    before = judge.evidence
    judge.observe(sample_audit())
    assert judge.evidence == before
