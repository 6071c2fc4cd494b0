"""Scores of probabilities and of the ranking that confidence gives: plain formulas on arrays.

All take agreement with the teacher as the event. Natural logarithms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from students.evaluation import CountedShare, Probabilities, Ranking, ReliabilityBin

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

BINS = 15
NULL_DRAWS = 500
TINY = 1e-12


def share(count: int, n: int) -> CountedShare:
    """Count out of n with its exact two-sided 95 % interval; n is at least 1."""
    low, high = exact_band(np.array([count]), np.array([n]))
    return CountedShare(count=count, n=n, rate=count / n, low=float(low[0]), high=float(high[0]))


def exact_band(count: Ints, n: Ints) -> tuple[Floats, Floats]:
    """Clopper-Pearson two-sided 95 % limits of count / n, elementwise."""
    low = np.where(count == 0, 0.0, stats.beta.ppf(0.025, np.maximum(count, 1), n - count + 1))
    high = np.where(count == n, 1.0, stats.beta.ppf(0.975, count + 1, np.maximum(n - count, 1)))
    return low, high


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
    draws = rng.random((NULL_DRAWS, top.size), dtype=np.float32) < top
    low, high = np.quantile(ece(top, draws), [0.025, 0.975])
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
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~agree[order])
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)
    kept = np.flatnonzero(last_of_tie & (wrong <= allowed)) + 1
    return Ranking(
        augrc=augrc,
        augrc_oracle=error**2 / 2,
        auroc=auroc,
        coverage_at_promise=float(kept[-1] / agree.size) if kept.size else 0.0,
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
