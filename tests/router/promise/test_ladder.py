"""The ladder: up at once, down on fresh proof alone, and nothing forgotten."""

import numpy as np
import pytest

from router.promise.ladder import (
    EAGER,
    EAGER_TOP,
    OVERALL,
    LadderEvidence,
    PromiseLadder,
    Rules,
    share_of,
)
from router.testing import sample_audit

LABELS = ("calm", "urgent")
RUNGS = (0.6, 0.7, 0.8, 0.9)


def seen(confidence, said="calm", teacher="calm", **changes):
    """An audit of what student and teacher said."""
    return sample_audit(
        confidence=confidence, student_label=said, teacher_label=teacher,
        disagreed=said is None or said != teacher, **changes,
    )  # fmt: skip


def _ladder(promise="system", classes=None, rungs=RUNGS):
    return PromiseLadder(
        Rules(
            promise=promise,
            alphas={OVERALL: 0.05} | (classes or {}),
            thresholds=dict.fromkeys(LABELS, 0.5),
            rungs=rungs,
        )
    )


def _feed(ladder, rng, n, wrong, teacher="calm"):
    """Audit n requests of uniform confidence; `wrong(c)` is the chance to disagree."""
    other = LABELS[1 - LABELS.index(teacher)]
    steps = [ladder.rung]
    for confidence in rng.random(n):
        said = other if rng.random() < wrong(confidence) else teacher
        level = ladder.rules.kept_by(said, confidence)
        ladder.observe(seen(confidence, said, teacher, escalated=level <= ladder.rung))
        steps.append(ladder.rung)
    return steps


def test_a_rung_keeps_what_is_sure_enough_for_it():
    """Level k means: the k lowest rungs let the student answer; a failed student passes none."""
    rules = _ladder().rules
    found = [rules.kept_by("calm", c) for c in (0.49, 0.5, 0.6, 0.85, 0.95, None, float("nan"))]
    assert found == [0, 1, 2, 4, 5, 0, 0]
    assert rules.kept_by(None, 0.99) == 0


def test_drift_raises_the_threshold_and_drift_back_lowers_it():
    """Wrong below .75: everything escalates, then the lowest rung that keeps it; then rung 0.

    At .6 the true rate is 6.3 %, at .7 it is 2.3 %.
    """
    rng = np.random.default_rng(0)
    ladder = _ladder()
    _feed(ladder, rng, 500, lambda c: 0.02)
    assert (ladder.rung, ladder.eagerness) == (0, 1.0)
    steps = _feed(ladder, rng, 4_000, lambda c: 0.4 if c < 0.75 else 0.01)
    assert ladder.rules.top in steps
    assert (ladder.rung, ladder.eagerness, ladder.accused) == (2, EAGER, {OVERALL})
    _feed(ladder, rng, 4_000, lambda c: 0.01)
    assert (ladder.rung, ladder.accused, ladder.proofs) == (0, frozenset(), {})
    assert ladder.spell == 2


def test_what_no_rung_keeps_stays_with_the_teacher():
    """Where the surest answers are wrong, too, nothing is proved and nothing is served."""
    ladder = _ladder()
    _feed(ladder, np.random.default_rng(1), 3_000, lambda c: 0.5)
    assert ladder.rung == ladder.rules.top
    assert ladder.eagerness == EAGER_TOP


def test_good_audits_before_the_alarm_prove_nothing_after_it():
    """Evidence is fresh: 20,000 good audits before an alarm do not shorten the way back."""
    rng = np.random.default_rng(2)
    ladder = _ladder()
    _feed(ladder, rng, 20_000, lambda c: 0.0)
    while ladder.rung == 0:
        _feed(ladder, rng, 1, lambda c: 1.0)
    steps = _feed(ladder, rng, 50, lambda c: 0.0)
    assert set(steps) == {ladder.rules.top}


def test_without_rungs_it_is_all_or_nothing_and_still_comes_back():
    """A bundle that fixed no rungs goes to the teacher and comes back to its certificate."""
    rng = np.random.default_rng(3)
    ladder = _ladder(rungs=())
    steps = _feed(ladder, rng, 300, lambda c: 0.5) + _feed(ladder, rng, 3_000, lambda c: 0.0)
    assert set(steps) == {0, 1}
    assert ladder.rung == 0


def test_a_class_is_watched_by_the_teachers_label():
    """Of what the teacher calls urgent half is lost, too few to break the overall promise."""
    rng = np.random.default_rng(4)
    ladder = _ladder(classes={"urgent": 0.05})
    while ladder.rung == 0:
        _feed(ladder, rng, 40, lambda c: 0.0)
        _feed(ladder, rng, 1, lambda c: 0.5, teacher="urgent")
    assert ladder.accused == {"urgent"}
    assert set(ladder.proofs) == {"urgent"}
    # Only audits of that class bring it back, however good the others are.
    assert _feed(ladder, rng, 500, lambda c: 0.0)[-1] == ladder.rules.top
    assert _feed(ladder, rng, 500, lambda c: 0.0, teacher="urgent")[-1] == 0


def test_the_strict_promise_counts_what_is_kept_alone():
    """Answers that escalate neither prove nor break it; wrong ones that are kept do."""
    ladder = _ladder("strict")
    for _ in range(1_000):
        ladder.observe(seen(0.1, escalated=True))
    assert ladder.monitors[OVERALL].state.audits == 0
    rng = np.random.default_rng(5)
    steps = _feed(ladder, rng, 2_000, lambda c: 0.3 if c < 0.75 else 0.0)
    assert ladder.rules.top in steps
    assert ladder.rung >= 2


@pytest.mark.parametrize("promise", ["system", "strict"])
def test_a_restart_at_any_moment_changes_nothing(promise):
    """Evidence through JSON after each of 600 audits moves as one process does."""
    calls = [
        (np.random.default_rng(6), _ladder(promise, {"urgent": 0.1})),
        (np.random.default_rng(6), _ladder(promise, {"urgent": 0.1})),
    ]
    for i in range(600):
        bad = 0.4 if i < 200 else 0.0
        teacher = LABELS[i % 2]
        (rng, whole), (again, parts) = calls
        _feed(whole, rng, 1, lambda c, bad=bad: bad, teacher)
        text = parts.evidence.model_dump_json()
        parts = PromiseLadder.resume(LadderEvidence.model_validate_json(text))
        _feed(parts, again, 1, lambda c, bad=bad: bad, teacher)
        calls[1] = (again, parts)
        assert parts.evidence == whole.evidence
    assert whole.spell > 1


def test_an_impossible_propensity_is_refused():
    """What could not have been drawn is no evidence."""
    with pytest.raises(ValueError, match="propensity"):
        _ladder().observe(seen(0.9, propensity=0.0))


def test_the_budget_of_all_spells_is_the_budget():
    """1 / (k (k + 1)) sums to one: no life has more false alarms than it is allowed."""
    assert sum(share_of(0.05, k) for k in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)
