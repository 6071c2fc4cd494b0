"""Where the threshold goes, and why it may: exact binomial arithmetic and nothing else.

Two promises, never mixed (alpha = 1 - agreement, delta = 1 - confidence; s is the confidence, f the
student's label, Y the teacher's):

system (G2)  P(s >= t and f != Y) <= alpha. The risk can only fall as t rises, and so does its exact
    (Clopper-Pearson) upper bound. Let t0 be the highest threshold whose true risk is above alpha.
    Deploying any bad threshold t <= t0 means that the bound at t, hence also the one at t0, was at
    most alpha although the true risk there is larger: one fixed binomial event of probability at
    most delta. So the lowest t whose bound is at most alpha may be taken, from all thresholds and
    after looking, without a correction (risk-controlling prediction sets, Bates et al. 2021). The
    same argument at the level of the bound itself makes the printed bound valid after the choice.

strict (G1)  P(f != Y | s >= t) <= alpha. Not monotone in t, so the thresholds form a sequence fixed
    before a label is seen (a grid from other, unlabelled rows) and are tested one after the other
    by exact binomial tests at full delta; the first failure ends it and the last pass is deployed.
    A broken promise needs a pass at the first bad point of the sequence, one fixed event of
    probability at most delta (fixed-sequence testing, Angelopoulos et al. 2021). Where the sequence
    starts depends on n and on the grid alone, never on the calibration rows. Only 1 - alpha is
    proved for the chosen threshold: the exact bound at that one point would ignore the choice, so
    it is not printed as if it were a proof.

Certifying again on the same rows is another chance to be lucky. The k-th use spends delta / 2^k, so
that all certificates ever made on these rows hold together with probability at least 1 - delta.

Rows whose confidence is NaN are never accepted: the router escalates them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from students.certificate import Refusal
from students.errors import BadInputs, NotCertifiable
from students.task import PromiseSection

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

COVERAGES = np.arange(10, 101, 5) / 100
START_PROBABILITY = 0.99
"""The sequence starts where this surely enough rows are accepted for a test to be passable."""
POWER = 0.80
"""How surely the "rows needed" of a refusal would have certified, were the observed rate true."""
MOST_ROWS = 1_000_000

SYSTEM = "exact binomial bound, monotone in the threshold (RCPS)"
STRICT = "fixed-sequence exact binomial tests (LTT)"


@dataclass(frozen=True)
class Grid:
    """Thresholds fixed from unlabelled scores, most confident first, and the coverage of each."""

    thresholds: Floats
    coverages: Floats


@dataclass(frozen=True)
class Certified:
    """A threshold for each class and the numbers its statement rests on.

    `agreement_lower_bound` holds with probability 1 - delta_spent after the choice of the
    threshold: the exact bound for `system`, the promised agreement for `strict`.
    """

    thresholds: tuple[float, ...]
    n_calibration: int
    n_accepted: int
    disagreements: int
    agreement_lower_bound: float
    coverage: float
    method: str
    delta_spent: float


def grid_from_scores(unlabelled_confidence: Floats) -> Grid:
    """Fix the thresholds of the strict promise at coverages 10, 15, …, 100 %.

    The scores (M,) must come from other rows than the calibration rows. The last threshold is 0:
    the student answers everything.

    Raises:
        BadInputs: no scores were given.
    """
    scores = np.asarray(unlabelled_confidence, dtype=np.float64)
    scores = np.sort(scores[~np.isnan(scores)])[::-1]
    if scores.size == 0:
        raise BadInputs("no unlabelled scores were given; the grid of thresholds needs some")
    last_accepted = np.ceil(COVERAGES[:-1] * scores.size).astype(int) - 1
    thresholds = np.append(scores[np.maximum(last_accepted, 0)], 0.0)
    thresholds = np.unique(thresholds)[::-1]
    return Grid(thresholds, (scores[None, :] >= thresholds[:, None]).mean(axis=1))


def upper_bound(disagreements: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """One-sided exact (Clopper-Pearson) upper bound on a rate, at confidence 1 - delta.

    Broadcasts over counts and sizes; n = 0 bounds nothing and returns 1.
    """
    k, size = np.broadcast_arrays(np.asarray(disagreements), np.asarray(n))
    bound = stats.beta.ppf(1 - delta, k + 1, np.maximum(size - k, 1e-300))
    return np.where(k >= size, 1.0, bound)


def allowed_disagreements(n: npt.ArrayLike, alpha: float, delta: float) -> Ints:
    """Most disagreements in n rows that still prove a rate of at most alpha; -1 where none does.

    It is the largest k with P(Binomial(n, alpha) <= k) <= delta, the same k at which the exact
    upper bound reaches alpha.
    """
    size = np.asarray(n)
    k = stats.binom.ppf(delta, size, alpha).astype(np.int64)
    k = np.where(stats.binom.cdf(k, size, alpha) <= delta, k, k - 1)
    return np.where(size == 0, -1, k)


def rows_to_prove(
    alpha: float, delta: float, rate: float = 0.0, power: float = POWER
) -> int | None:
    """Rows from which on a rate <= alpha is proved with this power if `rate` is the truth.

    Returns None where no practical number does (the rate is not well below alpha).
    """
    zero = math.ceil(math.log(delta) / math.log1p(-alpha))
    if rate <= 0.0:
        return zero
    if rate >= alpha:
        return None

    def powerful(n: Ints) -> Bools:
        passed: Bools = stats.binom.cdf(allowed_disagreements(n, alpha, delta), n, rate) >= power
        return passed

    high = zero
    while not powerful(np.asarray(high)):
        high *= 2
        if high > MOST_ROWS:
            return None
    # Power is a saw-tooth in n: what counts is the last n that falls short.
    short = np.flatnonzero(~powerful(np.arange(zero, 2 * high + 1)))
    return zero + (int(short[-1]) + 1 if short.size else 0)


def spent(delta: float, use: int) -> float:
    """The delta that the `use`-th certificate on the same rows may spend: delta / 2^use.

    Raises:
        BadInputs: uses are counted from 1.
    """
    if use < 1:
        raise BadInputs(f"use is {use}; the first certificate on these rows is use 1")
    return float(delta * 0.5**use)


def certify(
    confidence: Floats,
    predicted: Ints,
    teacher: Ints,
    promise: PromiseSection,
    *,
    classes: int,
    grid: Grid | None = None,
    use: int = 1,
) -> Certified:
    """Find the lowest threshold that keeps the promise, on rows used for nothing else.

    Args:
        confidence: student's confidence, shape (N,); NaN is never accepted.
        predicted: student's labels, shape (N,).
        teacher: teacher's labels, shape (N,).
        promise: agreement, confidence and kind.
        classes: number of labels K; every class gets the same threshold.
        grid: from `grid_from_scores`; needed by the strict promise, unused by the system promise.
        use: how many certificates these rows will have served, this one included.

    Raises:
        NotCertifiable: no threshold keeps the promise; says the feasible best.
        BadInputs: shapes differ, there are no rows, or the strict promise has no grid.
    """
    scores = np.asarray(confidence, dtype=np.float64)
    if not (scores.shape == np.shape(predicted) == np.shape(teacher)) or scores.ndim != 1:
        raise BadInputs(
            f"confidence, predicted and teacher have shapes {scores.shape}, "
            f"{np.shape(predicted)} and {np.shape(teacher)}; three equal lengths are needed"
        )
    if scores.size == 0:
        raise BadInputs("there are no calibration rows; a certificate needs a random sample")
    disagree = np.asarray(predicted) != np.asarray(teacher)
    delta = spent(promise.delta, use)
    if promise.promise == "system":
        threshold = system_threshold(scores, disagree, promise.alpha, delta)
    else:
        if grid is None:
            raise BadInputs("the strict promise needs grid=grid_from_scores(unlabelled scores)")
        threshold = strict_threshold(scores, disagree, promise.alpha, delta, grid)
    accepted = scores >= (math.inf if threshold is None else threshold)
    if threshold is None or not accepted.any():
        raise _refusal(scores, disagree, promise, delta, grid)
    kept, wrong = int(accepted.sum()), int((accepted & disagree).sum())
    system = promise.promise == "system"
    return Certified(
        thresholds=(threshold,) * classes,
        n_calibration=scores.size,
        n_accepted=kept,
        disagreements=wrong,
        agreement_lower_bound=(
            1.0 - float(upper_bound(wrong, scores.size, delta)) if system else promise.agreement
        ),
        coverage=kept / scores.size,
        method=SYSTEM if system else STRICT,
        delta_spent=delta,
    )


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
    confidence: Floats, disagree: Bools, alpha: float, delta: float, grid: Grid
) -> float | None:
    """Last passed threshold of the fixed sequence; None if the first test fails."""
    start = first_testable(confidence.size, alpha, delta, grid)
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


def _refusal(
    confidence: Floats, disagree: Bools, promise: PromiseSection, delta: float, grid: Grid | None
) -> NotCertifiable:
    """Say the feasible best on these rows; a description, not a certificate."""
    n, alpha, system = confidence.size, promise.alpha, promise.promise == "system"
    if system or grid is None:
        surest = confidence >= np.max(confidence, initial=-math.inf, where=~np.isnan(confidence))
        kept, wrong = np.array([surest.sum()]), np.array([(surest & disagree).sum()])
        bounds = upper_bound(wrong, n, delta)
        rates = wrong / n
    else:
        accepted = confidence[None, :] >= grid.thresholds[:, None]
        kept, wrong = accepted.sum(axis=1), (accepted & disagree).sum(axis=1)
        bounds = upper_bound(wrong, kept, delta)
        rates = wrong / np.maximum(kept, 1)
    best = int(np.argmin(bounds))
    needed = rows_to_prove(alpha, delta, float(rates[best]))
    share = 1.0 if system else max(kept[best], 1) / n
    rows = None if needed is None else math.ceil(needed / share)
    raw = float(disagree.mean())
    refusal = Refusal(
        promise=promise.promise,
        agreement=promise.agreement,
        confidence=promise.confidence,
        n_calibration=n,
        raw_disagreement=raw,
        minimum_escalation=max(0.0, (raw - alpha) / (1.0 if system else 1.0 - alpha)),
        best_agreement=1.0 - float(bounds[best]),
        best_coverage=float(kept[best] / n),
        rows_needed=rows if rows is not None and rows > n else None,
    )
    return NotCertifiable(refusal.statement, refusal)
