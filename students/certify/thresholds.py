"""The two ways to place thresholds so that a promise provably holds.

Why they are valid is argued in `students.certify.certify`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from students.certificate import NEVER
from students.certify.binomial import allowed_disagreements, rows_to_prove
from students.errors import BadInputs
from students.sections import PromiseSection

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

COVERAGES = np.arange(10, 101, 5) / 100
START_PROBABILITY = 0.99
"""The sequence starts where this surely enough rows are accepted for a test to be passable."""

RUNGS = 7
"""Thresholds above the certified one that audits may raise it to; see docs/watching.md."""

OVERALL = ""
"""Stands for the overall promise where promises are keyed by the name of a class."""


@dataclass(frozen=True, eq=False)
class Rows:
    """N calibration rows: confidence (N,), the two answers (N,), and the K labels."""

    confidence: Floats
    predicted: Ints
    teacher: Ints
    labels: tuple[str, ...]

    @property
    def disagree(self) -> Bools:
        """Whether student and teacher differ, (N,)."""
        differ: Bools = self.predicted != self.teacher
        return differ

    def kept(self, thresholds: Floats) -> Bools:
        """Whether the student answers, (N,), at thresholds (K,) by predicted class."""
        above: Bools = self.confidence >= thresholds[self.predicted]
        return above


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


def rungs_of(kept: Sequence[float], count: int = RUNGS) -> tuple[float, ...]:
    """Thresholds that keep ever smaller shares of the confidences kept so far, ascending.

    With `count` of them the shares fall by equal steps to nothing. Ties give fewer.
    """
    ranked = sorted(kept)
    steps = [ranked[len(ranked) * j // (count + 1)] for j in range(1, count + 1)] if ranked else []
    return tuple(sorted({float(one) for one in steps if one > ranked[0]}))


def system_needs(rows: Rows, promise: PromiseSection, delta: float) -> dict[str, float | None]:
    """Lowest threshold of the overall promise and of each class promise, None where there is none.

    Each spends `delta`. A class promise is about the rows that the teacher gives the class.
    """
    needs = {OVERALL: system_threshold(rows.confidence, rows.disagree, promise.alpha, delta)}
    for name, one in promise.per_class.items():
        member = rows.teacher == rows.labels.index(name)
        needs[name] = system_threshold(
            rows.confidence[member], rows.disagree[member], 1.0 - one.agreement, delta
        )
    return needs


def raise_others(labels: Sequence[str], needs: Mapping[str, float | None]) -> Floats:
    """Combine valid thresholds into one for each class, (K,), that keeps all promises.

    Every system risk falls as any threshold rises, so the highest of valid thresholds is valid. An
    answer j can only lose the teacher's class c if j differs from c: a promise on c raises the
    thresholds of all other answers and leaves its own alone.
    """
    return np.array(
        [max(need or 0.0 for name, need in needs.items() if name != label) for label in labels]
    )


def strict_thresholds(rows: Rows, promise: PromiseSection, delta: float, grid: Grid) -> Floats:
    """Thresholds (K,) from a sequence for each promised class and one for all other answers.

    They share delta equally. Each keeps its share of wrong answers at the overall alpha or below,
    so their mixture does too. `NEVER` where a sequence fails at once.
    """
    groups = [
        (np.array([label == name for label in rows.labels]), one.agreement)
        for name, one in promise.per_class.items()
    ]
    rest = np.array([label not in promise.per_class for label in rows.labels])
    groups += [(rest, promise.agreement)] if rest.any() else []
    thresholds = np.full(len(rows.labels), NEVER)
    for member, agreement in groups:
        inside = member[rows.predicted]
        threshold = strict_threshold(
            rows.confidence[inside],
            rows.disagree[inside],
            1.0 - agreement,
            delta / len(groups),
            grid.within(member) if promise.per_class else grid,
            rows.confidence.size,
        )
        thresholds[member] = NEVER if threshold is None else threshold
    return thresholds


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
    surely = special.bdtrc(enough - 1, n, grid.coverages) >= START_PROBABILITY
    return int(np.argmax(surely)) if surely.any() else grid.thresholds.size - 1
