"""The page and the pictures of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from costmodel.report.page import Headline, Page
from students.certificate import Certificate
from students.evaluation import Evaluation
from students.metrics import Row, metric_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#3b76d1", "#d9822b", "#8a94a3"
"""Readable on light and on dark paper."""
WORST_CLASSES = 15
MOST_ROWS = 20


def risk_coverage_figure(evaluation: Evaluation) -> Figure:
    """Kept disagreement against coverage, with exact band, oracle, promise and chosen point."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    points = evaluation.risk_coverage
    coverage = np.array([p.coverage for p in points])
    alpha = 1.0 - evaluation.promised_agreement
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.subplots()
    axes.fill_between(
        coverage,
        [p.low for p in points],
        [p.high for p in points],
        color=BLUE,
        alpha=0.18,
        lw=0,
        label="exact 95 % band",
    )
    axes.plot(coverage, [p.risk for p in points], color=BLUE, lw=1.8, label="student")
    axes.plot(coverage, [p.oracle for p in points], color=GREY, lw=1.2, ls="--", label="oracle")
    along = np.linspace(max(coverage[0], 0.02), 1.0, 200)
    limit = alpha / along if evaluation.promise == "system" else np.full_like(along, alpha)
    axes.plot(along, limit, color=ORANGE, lw=1.2, label=f"promise ({evaluation.promise})")
    if evaluation.kept_agreement:
        axes.plot(
            [1.0 - evaluation.escalation.rate],
            [1.0 - evaluation.kept_agreement.rate],
            "o",
            color=ORANGE,
            ms=9,
            label="deployed",
        )
    settled = [p.high for p in points if p.coverage >= 0.1]
    top = max(alpha * 1.6, min(1.0, 1.1 * max(settled, default=1.0)))
    axes.set(xlim=(0, 1), ylim=(0, top))
    axes.set_xlabel("coverage: share of traffic the student answers")
    axes.set_ylabel("kept answers that differ from the teacher")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    _plain(axes)
    return figure


def reliability_figure(evaluation: Evaluation) -> Figure:
    """Agreement against top probability, in bins with exact intervals, and the rows of each."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    bins = evaluation.reliability
    x = [b.mean_confidence for b in bins]
    y = np.array([b.agreement.rate for b in bins])
    low, high = (np.array([getattr(b.agreement, side) for b in bins]) for side in ("low", "high"))
    figure = Figure(figsize=(6.4, 4.0))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=GREY, lw=1.2, ls="--", label="perfectly calibrated")
    axes.errorbar(
        x,
        y,
        yerr=[y - low, high - y],
        fmt="o",
        color=BLUE,
        ms=5,
        lw=1.2,
        capsize=2,
        label="student, exact 95 %",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_ylabel("agrees with the teacher")
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    below.bar(
        [b.low for b in bins],
        [b.agreement.n for b in bins],
        width=[0.9 * (b.high - b.low) for b in bins],
        align="edge",
        color=BLUE,
        alpha=0.5,
    )
    below.set_xlabel("student's top probability")
    below.set_ylabel("rows")
    for ax in (axes, below):
        _plain(ax)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _plain(axes: object) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)  # type: ignore[attr-defined]
    axes.grid(True, color=GREY, alpha=0.2, lw=0.7)  # type: ignore[attr-defined]


def evaluation_page(
    name: str,
    bundle: str,
    evaluation: Evaluation,
    certificate: Certificate | None,
    texts: Sequence[str],
) -> Page:
    """Build the HTML page of one evaluation; `texts` are the test rows, in order."""
    page = Page(f"Evaluation of {name}", f"bundle {bundle} · {evaluation.n:,} untouched test rows")
    page.headlines(_headlines(evaluation, certificate))
    if certificate:
        page.paragraph(certificate.statement)
    else:
        page.paragraph("This bundle carries no certificate: nothing is promised.", tone="bad")
    page.figure(
        risk_coverage_figure(evaluation),
        "Risk and coverage",
        "Share of kept answers that differ from the teacher at each coverage, with the promise",
    )
    page.figure(
        reliability_figure(evaluation),
        "Reliability of the calibrated probabilities",
        "Agreement with the teacher in bins of the student's top probability",
    )
    page.heading("All figures")
    page.table(
        ("", "metric", "value"),
        _blocks_once(metric_rows(evaluation, certificate)),
        "Shares with exact 95 % intervals; differences with paired bootstrap 95 % intervals",
    )
    _class_tables(page, evaluation)
    _suspect_table(page, evaluation, texts)
    return page


def _blocks_once(rows: list[Row]) -> list[Row]:
    """Leave a block's name out where it repeats."""
    before = ["", *(block for block, _, _ in rows)]
    return [
        ("" if block == last else block, metric, value)
        for last, (block, metric, value) in zip(before, rows, strict=False)
    ]


def _headlines(e: Evaluation, certificate: Certificate | None) -> list[Headline]:
    kept_promise = e.cascade_agreement if e.promise == "system" else e.kept_agreement
    held = kept_promise is not None and kept_promise.rate >= e.promised_agreement
    lines = [
        Headline(
            f"{e.cascade_agreement.rate:.2%}",
            "agreement over all traffic",
            f"[{e.cascade_agreement.low:.2%}, {e.cascade_agreement.high:.2%}], n = {e.n:,}",
            "good" if held else "bad",
        ),
        Headline(
            f"{e.escalation.rate:.2%}",
            "escalated to the teacher",
            f"[{e.escalation.low:.2%}, {e.escalation.high:.2%}]",
        ),
        Headline(
            f"{e.agreement.rate:.2%}",
            "student alone agrees",
            f"[{e.agreement.low:.2%}, {e.agreement.high:.2%}]",
        ),
    ]
    if certificate:
        lines.insert(
            0,
            Headline(
                f"≥ {certificate.agreement_lower_bound:.2%}",
                f"certified agreement ({certificate.promise})",
                f"at {certificate.confidence:.0%} confidence, n = {certificate.n_calibration:,}",
            ),
        )
    return lines


def _class_tables(page: Page, e: Evaluation) -> None:
    shown = [row for row in e.classes if row.teacher]
    many = len(shown) > MOST_ROWS
    if many:
        shown = sorted(shown, key=lambda row: row.f1)[:WORST_CLASSES]
    page.heading("By class")
    page.table(
        (
            "label",
            "teacher rows",
            "student rows",
            "precision",
            "recall",
            "F1",
            "escalated",
            "kept, missed",
            "at most",
            "gold F1 teacher",
            "student",
            "cascade",
        ),
        [
            (
                row.label,
                row.teacher,
                row.student,
                _percent(row.precision),
                _percent(row.recall),
                f"{row.f1:.3f}",
                _percent(row.escalation),
                row.missed.count if row.missed else None,
                _percent(row.missed.high) if row.missed else None,
                _number(row.teacher_gold_f1),
                _number(row.student_gold_f1),
                _number(row.cascade_gold_f1),
            )
            for row in shown
        ],
        f"The {len(shown)} worst classes of {len(e.classes)} by agreement with the teacher"
        if many
        else "Precision, recall and F1: agreement of the student alone with the teacher. Missed: "
        "kept and answered otherwise, with its exact upper 97.5 % limit",
    )
    if e.confusion:
        page.table(
            ("teacher says", "student says", "rows"),
            [(c.teacher, c.student, c.count) for c in e.confusion[:MOST_ROWS]],
            "Most frequent disagreements, before escalation",
        )


def _suspect_table(page: Page, e: Evaluation, texts: Sequence[str]) -> None:
    if not e.suspects:
        return
    page.heading("Suspects")
    page.paragraph(
        "Confident disagreements: either the student is wrong or the teacher is. Relabelling "
        "these rows first teaches most."
    )
    page.table(
        ("text", "teacher", "student", "gold", "confidence"),
        [
            (_short(texts[s.row]), s.teacher, s.student, s.gold, f"{s.confidence:.4f}")
            for s in e.suspects[:MOST_ROWS]
        ],
        f"The surest {min(MOST_ROWS, len(e.suspects))}",
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:159]}…"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
