"""Measure a student and its thresholds on test rows that nothing else used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from students import confidence as scoring_rule
from students.certify.paired import paired
from students.certify.scoring import (
    exact_band,
    macro_f1,
    reliability,
    score_probabilities,
    score_ranking,
    share,
)
from students.errors import BadInputs
from students.evaluation import (
    ClassRow,
    Confusion,
    CountedShare,
    CurvePoint,
    Evaluation,
    GoldFigures,
    LabelMass,
    Paired,
    Suspect,
    Unlike,
)
from students.label.labelled import LabelledSet
from students.labels import means_label
from students.sections import PromiseSection

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

CURVE_POINTS = 100
MOST_CONFUSIONS = 100
MOST_SUSPECTS = 50


def evaluate(
    probabilities: Floats,
    labelled: LabelledSet,
    thresholds: Sequence[float],
    confidence_kind: scoring_rule.Kind,
    promise: PromiseSection,
    *,
    unlike: Bools | None = None,
    outside: Bools | None = None,
    self_agreement: CountedShare | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure everything at the deployed thresholds.

    Args:
        probabilities: the student's calibrated probabilities on the test rows, (N, K).
        labelled: the test rows: teacher's answers, gold where known.
        thresholds: per predicted class, (K,).
        confidence_kind: the score that the thresholds were made for.
        promise: what was promised, for the coverage at the promise.
        unlike: (N,), rows whose text is unlike all that was learnt from.
        outside: (N,), rows that the gate keeps from the student, however sure it is.
        self_agreement: teacher against itself, where it was asked twice.
        seed: of the bootstrap.

    Raises:
        BadInputs: no rows, shapes that differ, or probabilities that are not numbers.
    """
    n, k = len(labelled), len(labelled.schema)
    if n == 0:
        raise BadInputs("there are no test rows; an evaluation needs some")
    if probabilities.shape != (n, k) or len(thresholds) != k:
        raise BadInputs(
            f"probabilities have shape {probabilities.shape} and there are {len(thresholds)} "
            f"thresholds; {n} test rows and {k} labels need ({n}, {k}) and {k}"
        )
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise BadInputs(f"the student answers {bad} of {n} test rows with NaN; train it anew")
    score = scoring_rule.confidence(probabilities, confidence_kind)
    student = probabilities.argmax(axis=1)
    teacher = labelled.teacher
    kept = score >= np.asarray(thresholds, dtype=np.float64)[student]
    if outside is not None:
        kept &= ~outside
    usable = labelled.usable
    if not usable.any():
        raise BadInputs("the teacher gave no usable answer to any test row; correct its prompt")
    # Without a usable answer an escalation gets the student's.
    cascade = np.where(kept | ~usable, student, teacher)
    agree = student == teacher
    gold = labelled.gold >= 0
    answers = {"teacher": teacher, "student": student, "cascade": cascade}
    quality = {name: _quality(labelled.gold[gold], a[gold]) for name, a in answers.items()}
    top = probabilities.max(axis=1).astype(np.float64)

    def against(other: Ints) -> Paired:
        return paired(labelled.gold[gold], teacher[gold], other[gold], seed=seed)

    return Evaluation(
        n=n,
        n_gold=int(gold.sum()),
        labels=labelled.schema.names,
        confidence_kind=confidence_kind,
        promise=promise.promise,
        promised_agreement=promise.agreement,
        thresholds=tuple(float(t) for t in thresholds),
        **quality,
        majority=_quality(labelled.gold[gold], _majority(labelled.gold[gold])),
        teacher_minus_student=against(student) if gold.any() else None,
        teacher_minus_cascade=against(cascade) if gold.any() else None,
        agreement=share(int(agree.sum()), n),
        kept_agreement=share(int((agree & kept).sum()), int(kept.sum())) if kept.any() else None,
        cascade_agreement=share(int((agree | ~kept).sum()), n),
        escalation=share(int((~kept).sum()), n),
        unlike=None if unlike is None else _unlike(agree[unlike], kept[unlike]),
        self_agreement=self_agreement,
        probabilities=score_probabilities(
            probabilities[usable], labelled.probabilities[usable], teacher[usable], seed=seed
        ),
        ranking=score_ranking(score, agree, _allowed(promise, n)),
        label_mass=_label_mass(labelled, kept),
        risk_coverage=risk_coverage(score, agree),
        reliability=reliability(top, agree),
        classes=_classes(labelled, answers, kept),
        confusion=_confusion(labelled, student),
        suspects=_suspects(labelled, student, score),
    )


def risk_coverage(confidence: Floats, agree: Bools) -> tuple[CurvePoint, ...]:
    """The share of kept answers that disagree at up to 100 coverages, surest first."""
    n = confidence.size
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~agree[order], dtype=np.int64)
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) + 1
    wanted = np.ceil(np.linspace(0, n, CURVE_POINTS + 1)[1:]).astype(int)
    kept = np.unique(ends[np.minimum(np.searchsorted(ends, wanted), ends.size - 1)])
    errors = wrong[kept - 1]
    low, high = exact_band(errors, kept)
    oracle = np.maximum(0, kept - (n - wrong[-1])) / kept
    return tuple(
        CurvePoint(
            threshold=float(ranked[m - 1]),
            coverage=float(m / n),
            risk=float(e / m),
            kept=int(m),
            disagreements=int(e),
            low=float(lo),
            high=float(hi),
            oracle=float(best),
        )
        for m, e, lo, hi, best in zip(kept, errors, low, high, oracle, strict=True)
    )


def _unlike(agree: Bools, kept: Bools) -> Unlike:
    def of(rows: Bools) -> CountedShare | None:
        return share(int(rows.sum()), rows.size) if rows.size else None

    return Unlike(agreement=of(agree), cascade_agreement=of(agree | ~kept), escalation=of(~kept))


def _allowed(promise: PromiseSection, n: int) -> Floats:
    kept = np.arange(1, n + 1)
    return promise.alpha * (np.full(n, n) if promise.promise == "system" else kept)


def _quality(gold: Ints, answer: Ints) -> GoldFigures:
    if gold.size == 0:
        return GoldFigures()
    return GoldFigures(accuracy=float((gold == answer).mean()), macro_f1=macro_f1(gold, answer))


def _majority(gold: Ints) -> Ints:
    return np.full(gold.size, np.bincount(gold).argmax() if gold.size else 0)


def _label_mass(labelled: LabelledSet, kept: Bools) -> LabelMass:
    mass = 1.0 - labelled.other
    unsure = ~means_label(labelled.probabilities, labelled.other)
    return LabelMass(
        mean=float(mass.mean()),
        unsure=int(unsure.sum()),
        unusable=int((~labelled.usable).sum()),
        unusable_escalated=int((~labelled.usable & ~kept).sum()),
        truncated=int(labelled.truncated.sum()),
    )


def _classes(labelled: LabelledSet, answers: dict[str, Ints], kept: Bools) -> tuple[ClassRow, ...]:
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    every = np.arange(len(labelled.schema))
    teacher, student = answers["teacher"], answers["student"]
    precision, recall, f1, support = precision_recall_fscore_support(
        teacher, student, labels=every, zero_division=0
    )
    said = np.bincount(student, minlength=every.size)
    gold = labelled.gold >= 0
    by_gold = {
        name: f1_score(labelled.gold[gold], a[gold], labels=every, average=None, zero_division=0)
        for name, a in answers.items()
        if gold.any()
    }
    in_gold = np.bincount(labelled.gold[gold], minlength=every.size)
    missed = kept & (student != teacher)
    return tuple(
        ClassRow(
            label=name,
            teacher=int(support[c]),
            student=int(said[c]),
            precision=float(precision[c]) if said[c] else None,
            recall=float(recall[c]) if support[c] else None,
            f1=float(f1[c]),
            escalation=float((~kept)[teacher == c].mean()) if support[c] else None,
            missed=share(int((missed & (teacher == c)).sum()), int(support[c]))
            if support[c]
            else None,
            **{f"{who}_gold_f1": float(f[c]) for who, f in by_gold.items() if in_gold[c]},
        )
        for c, name in enumerate(labelled.schema.names)
    )


def _confusion(labelled: LabelledSet, student: Ints) -> tuple[Confusion, ...]:
    names = labelled.schema.names
    differ = labelled.usable & (student != labelled.teacher)
    pairs, counts = np.unique(
        np.stack([labelled.teacher[differ], student[differ]]), axis=1, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]
    return tuple(
        Confusion(teacher=names[pairs[0, i]], student=names[pairs[1, i]], count=int(counts[i]))
        for i in order
    )


def _suspects(labelled: LabelledSet, student: Ints, score: Floats) -> tuple[Suspect, ...]:
    names = labelled.schema.names
    differ = np.flatnonzero(labelled.usable & (student != labelled.teacher))
    surest = differ[np.argsort(-score[differ], kind="stable")][:MOST_SUSPECTS]
    return tuple(
        Suspect(
            row=int(i),
            teacher=names[labelled.teacher[i]],
            student=names[student[i]],
            confidence=float(score[i]),
            gold=names[labelled.gold[i]] if labelled.gold[i] >= 0 else None,
        )
        for i in surest
    )
