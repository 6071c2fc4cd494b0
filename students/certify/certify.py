"""Where the threshold goes, and why it may: exact binomial arithmetic and nothing else.

Two promises, never mixed (alpha = 1 - agreement, delta = 1 - confidence; s is the confidence, f the
student's label, Y the teacher's):

system (G2)  P(s >= t and f != Y) <= alpha. The risk can only fall as t rises, and so does its exact
    (Clopper-Pearson) upper bound. Let t0 be the highest threshold whose true risk is above alpha.
    Deploying any bad threshold t <= t0 means that the bound at t, hence also the one at t0, was at
    most alpha although the true risk there is larger: one fixed binomial event of probability at
    most delta. So the lowest t whose bound is at most alpha may be taken, from all thresholds and
    after looking, without a correction (risk-controlling prediction sets, Bates et al. 2021). The
    printed bound is that of the most disagreements allowed, a number fixed by n, alpha and delta
    alone: it never exceeds what the promise proves, ties or not.

strict (G1)  P(f != Y | s >= t) <= alpha. Not monotone in t, so the thresholds form a sequence fixed
    before a label is seen (a grid from other, unlabelled rows) and are tested one after the other
    by exact binomial tests at full delta; the first failure ends it and the last pass is deployed.
    A broken promise needs a pass at the first bad point of the sequence, one fixed event of
    probability at most delta (fixed-sequence testing, Angelopoulos et al. 2021). Where the sequence
    starts depends on n and on the grid alone, never on the calibration rows. Only 1 - alpha is
    proved for the chosen threshold: the exact bound at that one point would ignore the choice, so
    it is not printed as if it were a proof.

Promises on single classes share delta equally with the overall one (union bound), and each is made
where it means something: `system` on the rows that the TEACHER gives the class ("of all messages
the teacher calls urgent, at most alpha get another answer": missing it is what costs), `strict` on
the rows that the STUDENT gives the class ("of its answers `urgent`, at most alpha differ").

Certifying again on the same rows is another chance to be lucky. The k-th use spends delta / 2^k, so
that all certificates ever made on these rows hold together with probability at least 1 - delta.

Rows whose confidence is NaN are never accepted: the router escalates them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from costmodel.intervals import upper_bound
from students.certificate import LEAST_KEPT, NoCertificate
from students.certify.advice import strict_outlook, system_outlook
from students.certify.binomial import allowed_disagreements
from students.certify.thresholds import (
    Grid,
    Rows,
    grid_from_scores,
    raise_others,
    strict_thresholds,
    system_needs,
)
from students.errors import BadInputs, NotCertifiable
from students.sections import PromiseSection

__all__ = ["Certified", "ClassCertified", "Grid", "certify", "grid_from_scores", "spent"]

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

SYSTEM = "exact binomial bound, monotone in the threshold (RCPS)"
STRICT = "fixed-sequence exact binomial tests (LTT)"


@dataclass(frozen=True)
class ClassCertified:
    """The promise on one class, and what was seen: kept disagreements among n rows of the class.

    `system`: n rows that the teacher gives the class. `strict`: n kept answers of the class; 0 when
    the class could not be certified and always escalates.
    """

    label: str
    agreement: float
    n: int
    disagreements: int
    agreement_lower_bound: float


@dataclass(frozen=True)
class Certified:
    """A threshold for each predicted class and the numbers its statement rests on.

    `agreement_lower_bound` holds with probability 1 - delta_spent after the choice of the
    thresholds: the exact bound of the disagreements allowed for `system`, the promised agreement
    for `strict`. `outlook` says what more rows would do where it keeps next to nothing.
    """

    thresholds: tuple[float, ...]
    n_calibration: int
    n_accepted: int
    disagreements: int
    agreement_lower_bound: float
    coverage: float
    method: str
    delta_spent: float
    per_class: tuple[ClassCertified, ...] = ()
    outlook: NoCertificate | None = None


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
    labels: Sequence[str],
    grid: Grid | None = None,
    use: int = 1,
) -> Certified:
    """Find the lowest thresholds that keep the promise, on rows used for nothing else.

    Args:
        confidence: student's confidence, shape (N,); NaN is never accepted.
        predicted: student's labels, shape (N,).
        teacher: teacher's labels, shape (N,).
        promise: agreement, confidence and kind, overall and on single classes.
        labels: the K names.
        grid: from `grid_from_scores`; needed by the strict promise, unused by the system promise.
        use: how many certificates these rows will have served, this one included.

    Raises:
        NotCertifiable: no threshold keeps the promise; says the feasible best.
        BadInputs: shapes differ, there are no rows, or the strict promise has no grid.
    """
    rows = Rows(
        np.asarray(confidence, float), np.asarray(predicted), np.asarray(teacher), tuple(labels)
    )
    shapes = rows.confidence.shape, rows.predicted.shape, rows.teacher.shape
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise BadInputs(
            f"confidence, predicted and teacher have shapes {shapes}; three equal "
            "lengths are needed"
        )
    if rows.confidence.size == 0:
        raise BadInputs("there are no calibration rows; a certificate needs a random sample")
    delta = spent(promise.delta, use)
    if promise.promise == "system":
        return _system(rows, promise, delta)
    if grid is None:
        raise BadInputs("the strict promise needs grid=grid_from_scores(unlabelled scores)")
    return _strict(rows, promise, delta, grid)


def _system(rows: Rows, promise: PromiseSection, delta: float) -> Certified:
    share = delta / (1 + len(promise.per_class))
    needs = system_needs(rows, promise, share)
    for name, need in needs.items():
        if need is None:
            raise _refused(system_outlook(rows, promise, share, name))
    thresholds = raise_others(rows.labels, needs)
    if not rows.kept(thresholds).any():
        raise _refused(system_outlook(rows, promise, share))
    # The bound of the count that was allowed, not of the one seen: with tied scores the lowest
    # threshold may keep fewer, and its own bound would then be one picked after looking.
    n = rows.confidence.size
    allowed = allowed_disagreements(n, promise.alpha, share)
    bound = 1.0 - float(upper_bound(allowed, n, share))
    of_class = {name: rows.teacher == rows.labels.index(name) for name in promise.per_class}
    certified = _certified(rows, thresholds, bound, SYSTEM, delta, promise, of_class)
    if certified.coverage >= LEAST_KEPT:
        return certified
    return replace(certified, outlook=system_outlook(rows, promise, share))


def _strict(rows: Rows, promise: PromiseSection, delta: float, grid: Grid) -> Certified:
    thresholds = strict_thresholds(rows, promise, delta, grid)
    kept, share = rows.kept(thresholds), delta / (1 + len(promise.per_class))
    if not kept.any():
        raise _refused(strict_outlook(rows, promise, share, grid))
    of_class = {
        name: kept & (rows.predicted == rows.labels.index(name)) for name in promise.per_class
    }
    certified = _certified(rows, thresholds, promise.agreement, STRICT, delta, promise, of_class)
    if certified.coverage >= LEAST_KEPT:
        return certified
    return replace(certified, outlook=strict_outlook(rows, promise, share, grid))


def _certified(
    rows: Rows,
    thresholds: Floats,
    bound: float,
    method: str,
    delta: float,
    promise: PromiseSection,
    of_class: Mapping[str, Bools],
) -> Certified:
    kept = rows.kept(thresholds)
    wrong = kept & rows.disagree
    return Certified(
        thresholds=tuple(float(t) for t in thresholds),
        n_calibration=kept.size,
        n_accepted=int(kept.sum()),
        disagreements=int(wrong.sum()),
        agreement_lower_bound=bound,
        coverage=float(kept.mean()),
        method=method,
        delta_spent=delta,
        per_class=tuple(
            ClassCertified(
                label=name,
                agreement=promise.per_class[name].agreement,
                n=int(member.sum()),
                disagreements=int((wrong & member).sum()),
                agreement_lower_bound=promise.per_class[name].agreement,
            )
            for name, member in of_class.items()
        ),
    )


def _refused(refusal: NoCertificate) -> NotCertifiable:
    return NotCertifiable(refusal.statement, refusal)
