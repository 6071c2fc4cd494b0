"""The two ways to place one threshold so that a promise provably holds.

Why they are valid is argued in `students.distill.certify`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from students.distill.binomial import allowed_disagreements, rows_to_prove
from students.errors import BadInputs

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

COVERAGES = np.arange(10, 101, 5) / 100
START_PROBABILITY = 0.99
"""The sequence starts where this surely enough rows are accepted for a test to be passable."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Thresholds (G,) fixed from unlabelled scores, most confident first; the last one is 0.

    `coverages` (G,) are shares of all M unlabelled rows, `scores` (M,) and `predicted` (M,) those
    rows.
    """

    thresholds: Floats
    coverages: Floats
    scores: Floats
    predicted: Ints | None = None

    def within(self, member: Bools) -> Grid:
        """Return the grid of the rows predicted in the classes marked in `member`, shape (K,).

        Raises:
            BadInputs: the grid was made without predicted labels.
        """
        if self.predicted is None:
            raise BadInputs("promises by class need grid_from_scores(confidence, predicted)")
        return _grid(np.where(member[self.predicted], self.scores, math.nan))


def grid_from_scores(unlabelled_confidence: Floats, predicted: Ints | None = None) -> Grid:
    """Fix the thresholds of the strict promise at coverages 10, 15, …, 100 %.

    The scores (M,) must come from other rows than the calibration rows; `predicted` (M,) is needed
    for promises by class.

    Raises:
        BadInputs: no scores were given.
    """
    scores = np.asarray(unlabelled_confidence, dtype=np.float64)
    if np.isnan(scores).all():
        raise BadInputs("no unlabelled scores were given; the grid of thresholds needs some")
    return _grid(scores, None if predicted is None else np.asarray(predicted))


def _grid(scores: Floats, predicted: Ints | None = None) -> Grid:
    ranked = np.sort(scores[~np.isnan(scores)])[::-1]
    last = np.maximum(np.ceil(COVERAGES[:-1] * ranked.size).astype(int) - 1, 0)
    thresholds = np.unique(np.append(ranked[last] if ranked.size else [], 0.0))[::-1]
    coverages = (ranked[None, :] >= thresholds[:, None]).sum(axis=1) / scores.size
    return Grid(thresholds, coverages, scores, predicted)


def system_threshold(
    confidence: Floats, disagree: Bools, alpha: float, delta: float
) -> float | None:
    """Lowest threshold whose bound on P(accepted and disagree) is at most alpha; None if none is.

    The bound depends on the number of accepted disagreements alone: the threshold is the lowest
    score above the first disagreement too many. 0 when everything may be answered.
    """
    allowed = int(allowed_disagreements(confidence.size, alpha, delta))
    if allowed < 0:
        return None
    wrong = np.sort(confidence[disagree & ~np.isnan(confidence)])[::-1]
    if wrong.size <= allowed:
        return 0.0
    above = confidence[confidence > wrong[allowed]]
    return float(above.min()) if above.size else None


def strict_threshold(
    confidence: Floats,
    disagree: Bools,
    alpha: float,
    delta: float,
    grid: Grid,
    n: int | None = None,
) -> float | None:
    """Last passed threshold of the fixed sequence; None if the first test fails.

    `n` is the number of calibration rows that the grid's coverages are shares of; default all.
    """
    start = first_testable(confidence.size if n is None else n, alpha, delta, grid)
    accepted = confidence[None, :] >= grid.thresholds[start:, None]
    kept, wrong = accepted.sum(axis=1), (accepted & disagree).sum(axis=1)
    failed = wrong > allowed_disagreements(kept, alpha, delta)
    passed = int(np.argmax(failed)) if failed.any() else failed.size
    return float(grid.thresholds[start + passed - 1]) if passed else None


def first_testable(n: int, alpha: float, delta: float, grid: Grid) -> int:
    """Index of the first grid point that will have enough accepted rows, from n and grid alone.

    Below ln(delta) / ln(1 - alpha) accepted rows not even a flawless sample is significant. Which
    points to leave out must not depend on the calibration rows, or the sequence is not fixed.
    """
    enough = rows_to_prove(alpha, delta) or 0
    surely = stats.binom.sf(enough - 1, n, grid.coverages) >= START_PROBABILITY
    return int(np.argmax(surely)) if surely.any() else grid.thresholds.size - 1
