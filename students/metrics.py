"""Every figure of an evaluation as a row of words: the same on the terminal and on the page."""

from __future__ import annotations

from students.certificate import Certificate, ClassPromise
from students.evaluation import CountedShare, Evaluation, GoldFigures, IntervalEstimate, Paired

Row = tuple[str, str, str]
"""Block, metric, value."""


def share_words(share: CountedShare) -> str:
    """A rate with its exact interval and its counts."""
    return f"{share.rate:.2%} [{share.low:.2%}, {share.high:.2%}] ({share.count:,} of {share.n:,})"


def metric_rows(evaluation: Evaluation, certificate: Certificate | None) -> list[Row]:
    """Every figure as (block, metric, value), in the order in which a reader needs them."""
    return [
        *_teacher_rows(evaluation),
        *_student_rows(evaluation),
        *_pair_rows(evaluation),
        *_probability_rows(evaluation),
        *_routing_rows(evaluation),
        *_unlike_rows(evaluation),
        *_promise_rows(evaluation, certificate),
    ]


def _teacher_rows(e: Evaluation) -> list[Row]:
    mass = e.label_mass
    return [
        ("Teacher", "accuracy · macro-F1 against gold", _quality_words(e.teacher, e.n_gold)),
        (
            "Teacher",
            "self-agreement, asked twice",
            share_words(e.self_agreement) if e.self_agreement else "not measured",
        ),
        (
            "Teacher",
            "label mass",
            f"{mass.mean:.3f} mean, {mass.unsure:,} of {e.n:,} unsure, "
            f"{mass.truncated:,} truncated",
        ),
        *([("Teacher", "no usable answer", _unusable_words(e))] if mass.unusable else []),
    ]


def _unusable_words(e: Evaluation) -> str:
    count = e.label_mass.unusable
    escalated = e.label_mass.unusable_escalated
    return (
        f"{count:,} of {e.n:,}; {escalated:,} of them are escalated and follow on_failure, "
        "the others are kept and count as disagreeing"
    )


def _student_rows(e: Evaluation) -> list[Row]:
    worst = min(
        (row for row in e.classes if row.recall is not None),
        key=lambda row: row.recall if row.recall is not None else 1.0,
    )
    rows = [
        ("Student", "agreement with the teacher, all answers", share_words(e.agreement)),
        ("Student", "accuracy · macro-F1 against gold", _quality_words(e.student, e.n_gold)),
        (
            "Student",
            "worst class by agreement",
            f"{worst.label}: {worst.recall:.2%} of {worst.teacher:,} rows",
        ),
        ("Cascade", "accuracy · macro-F1 against gold", _quality_words(e.cascade, e.n_gold)),
        ("Majority", "accuracy · macro-F1 against gold", _quality_words(e.majority, e.n_gold)),
    ]
    if e.self_agreement and e.self_agreement.rate > 0:
        ceiling = e.agreement.rate / e.self_agreement.rate
        rows.insert(1, ("Student", "agreement / teacher self-agreement", f"{ceiling:.3f}"))
    if e.retention is not None:
        kept = ("Student", "gain in macro-F1 over majority that is kept", f"{e.retention:.1%}")
        rows.insert(-2, kept)
    return rows


def _pair_rows(e: Evaluation) -> list[Row]:
    pairs = (("student", e.teacher_minus_student), ("cascade", e.teacher_minus_cascade))
    return [row for name, pair in pairs if pair for row in _paired_rows(name, pair)]


def _paired_rows(name: str, pair: Paired) -> list[Row]:
    title = f"Teacher − {name}"
    return [
        (title, "macro-F1, paired bootstrap", _interval_words(pair.macro_f1)),
        (title, "accuracy, paired bootstrap", _interval_words(pair.accuracy)),
        (
            title,
            "only one is right (McNemar)",
            f"teacher {pair.only_first:,}, {name} {pair.only_second:,}, p = {pair.p_value:.2g}",
        ),
    ]


def _probability_rows(e: Evaluation) -> list[Row]:
    p = e.probabilities
    return [
        ("Probabilities", "NLL · Brier of the teacher's answer", f"{p.nll:.4f} · {p.brier:.4f}"),
        ("Probabilities", "KL(teacher ‖ student), nats", f"{p.kl:.4f}"),
        (
            "Probabilities",
            "ECE, and what perfect calibration shows at this n",
            f"{p.ece:.4f}, null band [{p.ece_null_low:.4f}, {p.ece_null_high:.4f}]",
        ),
    ]


def _routing_rows(e: Evaluation) -> list[Row]:
    r = e.ranking
    return [
        ("Routing", "escalation rate", share_words(e.escalation)),
        ("Routing", "AUGRC (oracle)", f"{r.augrc:.5f} ({r.augrc_oracle:.5f})"),
        (
            "Routing",
            "AUROC of agreement",
            f"{r.auroc:.4f}" if r.auroc is not None else "one class only",
        ),
        (
            "Routing",
            f"coverage at {e.promised_agreement:.1%} {e.promise}, picked on these rows",
            f"{r.coverage_at_promise:.2%} (no proof)",
        ),
    ]


def _unlike_rows(e: Evaluation) -> list[Row]:
    if e.unlike is None:
        return []
    figures = (
        ("agreement of the student alone", e.unlike.agreement),
        ("agreement of the cascade", e.unlike.cascade_agreement),
        ("escalation rate", e.unlike.escalation),
    )
    block = "Texts unlike any learnt"
    return [(block, name, share_words(s) if s else "no such row") for name, s in figures]


def _promise_rows(e: Evaluation, certificate: Certificate | None) -> list[Row]:
    kept = share_words(e.kept_agreement) if e.kept_agreement else "nothing was kept"
    rows = [
        ("Promise", "agreement over all traffic, on test", share_words(e.cascade_agreement)),
        ("Promise", "agreement of the answers kept, on test", kept),
    ]
    if certificate is None:
        return [*rows, ("Promise", "certificate", "none: this bundle proves nothing")]
    c = certificate
    return [
        *rows,
        (
            "Promise",
            f"certified {c.promise} agreement, confidence {c.confidence:.0%}",
            f"≥ {c.agreement_lower_bound:.4f} (promised {c.agreement:.4f}); calibration: "
            f"n = {c.n_calibration:,}, kept {c.n_accepted:,}, disagreed {c.disagreements:,}",
        ),
        (
            "Promise",
            "about",
            f"teacher {c.teacher_model} ({c.teacher_revision}), artefact {c.artefact_sha256[:12]}, "
            f"use {c.use} of these rows, {c.date}",
        ),
        *(row for one in c.per_class for row in _class_rows(e, one)),
    ]


def _class_rows(e: Evaluation, one: ClassPromise) -> list[Row]:
    (measured,) = (row for row in e.classes if row.label == one.label)
    if e.promise == "system":
        lost = share_words(measured.missed) if measured.missed else "no such rows"
        on_test = (f"texts the teacher calls {one.label!r}, answered otherwise, on test", lost)
    else:
        precision = "none" if measured.precision is None else f"{measured.precision:.2%}"
        on_test = (f"precision of {one.label!r} before escalation, on test", precision)
    return [
        (
            "Promise",
            f"certified on {one.label!r}",
            f"≥ {one.agreement_lower_bound:.4f}; calibration: n = {one.n:,}, "
            f"disagreed {one.disagreements:,}"
            if one.is_proved
            else "nothing: the teacher is asked instead",
        ),
        ("Promise", *on_test),
    ]


def _quality_words(quality: GoldFigures, n: int) -> str:
    if quality.accuracy is None or quality.macro_f1 is None:
        return "no gold labels: only agreement is known"
    return f"{quality.accuracy:.4f} · {quality.macro_f1:.4f} (n = {n:,})"


def _interval_words(interval: IntervalEstimate) -> str:
    verdict = "" if interval.excludes_zero else ", not told apart"
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]{verdict}"
