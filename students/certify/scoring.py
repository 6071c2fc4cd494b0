"""Scores of probabilities and of the ranking that confidence gives: plain formulas on arrays.

All take agreement with the teacher as the event. Natural logarithms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from costmodel.intervals import lower_bound, upper_bound
from students.evaluation import CountedShare, Probabilities, Ranking, ReliabilityBin

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

BINS = 15
NULL_DRAWS = 500
DRAWS_AT_ONCE = 20
TINY = 1e-12


def share(count: int, n: int) -> CountedShare:
    """Count out of n with its exact two-sided 95 % interval; n is at least 1."""
    low, high = exact_band(np.array([count]), np.array([n]))
    return CountedShare(count=count, n=n, rate=count / n, low=float(low[0]), high=float(high[0]))


def exact_band(count: Ints, n: Ints) -> tuple[Floats, Floats]:
    """Clopper-Pearson two-sided 95 % limits of count / n, elementwise."""
    return lower_bound(count, n, 0.025), upper_bound(count, n, 0.025)


def macro_f1(gold: Ints, answer: Ints) -> float:
    """Mean F1 over the classes that occur in gold; both (N,)."""
    return float(macro_f1_of(np.ones((1, gold.size)), gold, answer)[0])


def macro_f1_of(weights: Floats, gold: Ints, answer: Ints) -> Floats:
    """Macro-F1 (R,) for R weightings of the same cells, shapes (R, C), (C,), (C,)."""
    classes = np.unique(gold)
    is_gold = (gold[:, None] == classes).astype(np.float64)
    is_answer = (answer[:, None] == classes).astype(np.float64)
    support = weights @ is_gold
    total = support + weights @ is_answer
    f1 = 2 * (weights @ (is_gold * is_answer)) / np.maximum(total, 1)
    mean: Floats = np.mean(f1, axis=1, where=support > 0)
    return mean


def coverage_at_promise(confidence: Floats, agree: Bools, allowed: Floats) -> float:
    """Largest share that a threshold can keep within a promise; rows of one score stay together.

    `allowed` are the kept disagreements that it allows when 1, 2, …, N rows are kept, (N,).
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~agree[order])
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)
    kept = np.flatnonzero(last_of_tie & (wrong <= allowed)) + 1
    return float(kept[-1] / agree.size) if kept.size else 0.0


def score_probabilities(
    student: Floats, teacher_p: Floats, teacher: Ints, *, seed: int = 0
) -> Probabilities:
    """Score the student's probabilities (N, K) against the teacher's (N, K) and answers (N,).

    The teacher's mass on its labels is scaled to 1 for the KL divergence alone.
    """
    p = np.clip(np.asarray(student, dtype=np.float64), TINY, 1.0)
    q = np.asarray(teacher_p, dtype=np.float64)
    q = q / np.maximum(q.sum(axis=1, keepdims=True), TINY)
    rows = np.arange(len(teacher))
    onehot = np.zeros_like(p)
    onehot[rows, teacher] = 1.0
    agree = p.argmax(axis=1) == teacher
    # The event is "the answer agrees": its probability is the top probability, whatever score
    # ranks the rows.
    top = p.max(axis=1)
    low, high = ece_null_band(top, seed=seed)
    divergence = np.sum(q * (np.log(np.maximum(q, TINY)) - np.log(p)), axis=1)
    return Probabilities(
        nll=float(-np.log(p[rows, teacher]).mean()),
        brier=float(((p - onehot) ** 2).sum(axis=1).mean()),
        kl=float(divergence.mean()),
        ece=float(ece(top, agree[None, :])[0]),
        ece_null_low=low,
        ece_null_high=high,
    )


def ece(top: Floats, agree: Bools) -> Floats:
    """Expected calibration error in 15 equal-width bins; agree has shape (D, N), result (D,)."""
    bins = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    member = (bins[:, None] == np.arange(BINS)).astype(np.float64)
    gap = (agree - top) @ member
    error: Floats = np.abs(gap).sum(axis=1) / top.size
    return error


def ece_null_band(top: Floats, *, seed: int = 0) -> tuple[float, float]:
    """95 % band of the ECE that a perfectly calibrated student of this confidence would show."""
    rng = np.random.default_rng(seed)
    # Some at once: those of a big pile would take more than all that it was distilled from.
    sizes = [min(DRAWS_AT_ONCE, NULL_DRAWS - n) for n in range(0, NULL_DRAWS, DRAWS_AT_ONCE)]
    found = [ece(top, rng.random((n, top.size), dtype=np.float32) < top) for n in sizes]
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def score_ranking(confidence: Floats, agree: Bools, allowed: Floats) -> Ranking:
    """Score how confidence (N,) ranks agreement (N,).

    Args:
        confidence: one score a row.
        agree: whether student and teacher agree.
        allowed: kept disagreements allowed by the promise when 1, 2, …, N rows are kept, (N,).
    """
    from sklearn.metrics import roc_auc_score

    error = float(1.0 - agree.mean())
    mixed = 0.0 < error < 1.0
    auroc = float(roc_auc_score(agree, confidence)) if mixed else None
    # AUGRC = (1 - AUROC) acc err + err^2 / 2: Traub et al. 2024, exact with ties.
    augrc = (1.0 - (auroc if auroc is not None else 1.0)) * (1 - error) * error + error**2 / 2
    return Ranking(
        augrc=augrc,
        augrc_oracle=error**2 / 2,
        auroc=auroc,
        coverage_at_promise=coverage_at_promise(confidence, agree, allowed),
    )


def reliability(top: Floats, agree: Bools) -> tuple[ReliabilityBin, ...]:
    """Bins of the top probability that hold any row, with the agreement in each."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    bins = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        ReliabilityBin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            mean_confidence=float(top[bins == b].mean()),
            agreement=share(int(agree[bins == b].sum()), int((bins == b).sum())),
        )
        for b in np.unique(bins)
    )
