"""What to say where no threshold keeps the promise, or next to nothing: what would help.

A description and a guess, never a certificate. Rows that are added make another look at the old
ones, so the numbers are for the next look, which spends half of this one's delta.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from costmodel.intervals import upper_bound
from students.certificate import NoCertificate
from students.certify.binomial import rows_to_prove
from students.certify.thresholds import OVERALL, Grid, Rows
from students.sections import PromiseSection

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


def system_outlook(
    rows: Rows, promise: PromiseSection, delta: float, name: str = OVERALL
) -> NoCertificate:
    """Describe the promise over all traffic, or on what the teacher calls `name`."""
    overall = name == OVERALL
    agreement = promise.agreement if overall else promise.per_class[name].agreement
    member = (
        np.full(rows.teacher.size, True) if overall else rows.teacher == rows.labels.index(name)
    )
    score, disagree = rows.confidence[member], rows.disagree[member]
    n, alpha = score.size, 1.0 - agreement
    kept, wrong = _prefixes(score, disagree)
    needed, aim = _needed(wrong, np.full(kept.size, n), alpha, delta)
    raw = float(disagree.mean()) if n else 0.0
    # Rows of one class come at the rate at which the teacher gives it.
    rate = max(n, 1) / rows.confidence.size
    surest = int(wrong[0]) if kept.size else 0
    return NoCertificate(
        promise=promise.promise,
        confidence=promise.confidence,
        agreement=agreement,
        label=None if overall else name,
        n_calibration=n,
        raw_disagreement=raw,
        minimum_escalation=max(0.0, raw - alpha),
        best_agreement=1.0 - float(upper_bound(surest, n, delta)),
        best_coverage=float(kept[0] / n) if kept.size else 0.0,
        target_coverage=float(kept[aim] / n) if kept.size and needed is not None else None,
        **_missing(None if needed is None else needed / rate, rows.confidence.size),
    )


def strict_outlook(rows: Rows, promise: PromiseSection, delta: float, grid: Grid) -> NoCertificate:
    """Describe the promise on the answers kept."""
    n, alpha, disagree = rows.confidence.size, promise.alpha, rows.disagree
    accepted = rows.confidence[None, :] >= grid.thresholds[:, None]
    accepted = accepted[accepted.any(axis=1)]
    kept, wrong = accepted.sum(axis=1), (accepted & disagree).sum(axis=1)
    needed, aim = _needed(wrong, kept, alpha, delta)
    coverage = kept / n
    bounds = upper_bound(wrong, kept, delta)
    best = int(np.argmin(bounds)) if kept.size else None
    raw = float(disagree.mean())
    return NoCertificate(
        promise=promise.promise,
        confidence=promise.confidence,
        agreement=promise.agreement,
        label=None,
        n_calibration=n,
        raw_disagreement=raw,
        minimum_escalation=max(0.0, (raw - alpha) / (1.0 - alpha)),
        best_agreement=0.0 if best is None else 1.0 - float(bounds[best]),
        best_coverage=0.0 if best is None else float(coverage[best]),
        target_coverage=float(coverage[aim]) if kept.size and needed is not None else None,
        **_missing(None if needed is None else needed / coverage[aim] if kept.size else needed, n),
    )


def _prefixes(score: Floats, disagree: Bools) -> tuple[Ints, Ints]:
    """Rows kept and wrong at each distinct score, surest first; NaN is never kept."""
    real = ~np.isnan(score)
    order = np.argsort(-score[real], kind="stable")
    ranked, wrong = score[real][order], np.cumsum(disagree[real][order], dtype=np.int64)
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if ranked.size else order[:0]
    return ends + 1, wrong[ends]


def _needed(wrong: Ints, of: Ints, alpha: float, delta: float) -> tuple[int | None, int]:
    """Rows that would prove a point of the curve at the next look, and which point is aimed at.

    Of the points (P,) with `wrong` disagreements in `of` rows, the surest first, the last with half
    of what is allowed leaves room for the proof; failing that, the first is asked.
    """
    within = np.flatnonzero(wrong <= alpha / 2 * of)
    aim = int(within[-1]) if within.size else 0
    seen, n = (int(wrong[aim]), int(of[aim])) if wrong.size else (0, 0)
    # Few rows say little: one more disagreement is expected, though no more than half of alpha.
    rate = max(seen / max(n, 1), min((seen + 1) / (n + 2), alpha / 2))
    return rows_to_prove(alpha, delta / 2, rate), aim


def _missing(needed: float | None, n: int) -> dict[str, int | None]:
    """Rows to label; where these n should have done, bad luck asks for as many fresh ones."""
    if needed is None:
        return {"rows_needed": None, "rows_missing": None}
    if needed <= n:
        return {"rows_needed": n, "rows_missing": n}
    return {"rows_needed": math.ceil(needed), "rows_missing": math.ceil(needed) - n}
