"""A worse candidate is promoted in at most 5 % of lives, an equal one within stated audits."""

from __future__ import annotations

import numpy as np
import pytest

from router.promise.duel import (
    Duel,
    Outlook,
    Pair,
    Tally3,
    log_e_not_worse,
    log_e_worse,
    reopen_duel,
)
from students.sections import PromotionSection

RULES = PromotionSection()
SAME = Pair(False, False, False, False)
BETTER = Pair(True, False, False, False)
WORSE = Pair(False, True, False, False)
DEARER = Pair(False, False, False, True)


def log_paths(rng, lives, n, discordant, mean, margin):
    """Log evidence "not worse by the margin" after each pair of each life, (lives, n).

    Written down apart from the module: the product of its definition.
    """
    up = (discordant + mean) / 2
    draws = rng.random((lives, n))
    d = np.where(draws < up, 1.0, np.where(draws < discordant, -1.0, 0.0))
    logs = [
        np.log1p(b / (1 + margin) * (margin - d)).cumsum(axis=1) for b in 0.99 * 0.5 ** np.arange(9)
    ]
    return np.logaddexp.reduce(logs, axis=0) - np.log(9)


@pytest.mark.parametrize("discordant", [0.02, 0.04, 0.08])
def test_one_that_is_worse_by_the_margin_is_shown_not_worse_in_5_percent_of_lives(discordant):
    """1,000 lives of 6,000 audits, looked at after each of them."""
    paths = log_paths(np.random.default_rng(1), 1_000, 6_000, discordant, 0.01, 0.01)
    ever = (paths.max(axis=1) >= np.log(20)).mean()
    assert ever <= 0.05


def test_one_that_is_two_points_worse_never_is():
    """0.1 % of lives is room enough."""
    paths = log_paths(np.random.default_rng(2), 1_000, 4_000, 0.04, 0.02, 0.01)
    assert (paths.max(axis=1) >= np.log(20)).mean() <= 0.001


def test_an_equal_one_is_shown_within_the_stated_audits():
    """With 4 % discordant pairs: half within 3,500, 90 % within 8,000; a better one sooner."""
    rng = np.random.default_rng(3)
    equal = log_paths(rng, 400, 8_000, 0.04, 0.0, 0.01) >= np.log(20)
    first = np.where(equal.any(axis=1), equal.argmax(axis=1), 10**6)
    assert np.median(first) <= 3_500
    assert np.quantile(first, 0.9) <= 8_000
    better = log_paths(rng, 400, 8_000, 0.04, -0.005, 0.01) >= np.log(20)
    assert np.median(np.where(better.any(axis=1), better.argmax(axis=1), 10**6)) < np.median(first)


def test_the_module_is_that_definition():
    """From counts alone, in any order."""
    rng = np.random.default_rng(4)
    paths = log_paths(rng, 1, 500, 0.2, 0.02, 0.03)
    rng = np.random.default_rng(4)
    draws = rng.random(500)
    d = np.where(draws < 0.11, 1, np.where(draws < 0.2, -1, 0))
    counts = Tally3()
    for one in rng.permutation(d):
        counts.add(int(one))
    assert log_e_not_worse(counts, 0.03) == pytest.approx(paths[0, -1])
    assert log_e_worse(Tally3(0, 0, 30), 0.03) > np.log(1_000) > log_e_worse(Tally3(0, 900, 0), 0.0)


def test_both_agreement_and_cost_have_to_be_shown():
    """Better answers that ask the teacher more often are not shown to be no worse."""
    duel = Duel(RULES)
    duel.take([BETTER] * 50)
    assert duel.outlook is Outlook.OPEN  # nothing is known of the cost yet
    duel.take([SAME] * 1_000)
    assert duel.outlook is Outlook.NOT_WORSE
    dearer = Duel(RULES)
    dearer.take([BETTER] * 50 + [SAME] * 200 + [DEARER] * 100)
    assert dearer.outlook is Outlook.WORSE


def test_a_share_is_earned_step_by_step_and_lost_at_once():
    """The steps begin when it is shown, and what is no longer shown has no share."""
    duel = Duel(PromotionSection(steps=(0.1, 0.5), step_audits=10, cost_margin=0.2, margin=0.2))
    assert duel.share == 0.0
    duel.take([SAME] * 100)
    shares = [duel.share]
    for _ in range(3):
        duel.take([SAME] * 10)
        shares.append(duel.share)
    assert shares == [0.1, 0.5, 1.0, 1.0]
    duel.take([WORSE] * 60)
    assert (duel.outlook, duel.share) == (Outlook.WORSE, 0.0)
    assert duel.verdict.reason == "candidate_worse"


def test_it_goes_on_from_its_evidence():
    """A restart and another worker know what one knew."""
    duel = Duel(RULES)
    duel.take([BETTER, SAME, DEARER])
    again = reopen_duel(RULES)(duel.evidence)
    assert again.verdict == duel.verdict
    assert again.verdict.figures["compared"] == 3
    assert reopen_duel(RULES)(None).verdict.figures["compared"] == 0
