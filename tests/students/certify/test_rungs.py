"""The thresholds to which audits may raise the certified one."""

from students.certify.thresholds import RUNGS, rungs_of


def test_rungs_fall_by_equal_shares_and_ties_give_fewer():
    """Of 100 confidences three rungs keep 75, 50 and 25; equal ones make no rung."""
    kept = [i / 100 for i in range(100)]
    assert [sum(c >= rung for c in kept) for rung in rungs_of(kept, 3)] == [75, 50, 25]
    assert rungs_of([0.9] * 50, 3) == ()
    assert rungs_of([]) == ()
    assert len(rungs_of(kept)) == RUNGS
