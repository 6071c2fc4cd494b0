"""The ablation as a page: one table of arms, two curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from costmodel.report.page import Page
from students.distill.ablation import SOFT, Ablation, AblationPoint, Arm
from students.evaluation import IntervalEstimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def verdict(ablation: Ablation) -> str:
    """One honest sentence on whether soft labels helped on this task."""
    soft = next(arm for arm in ablation.arms if arm.name == SOFT)
    assert soft.minus_hard is not None
    words = []
    for name, gap, better in (
        ("agreement", soft.minus_hard.agreement, 1),
        ("coverage at the promise", soft.minus_hard.coverage_at_promise, 1),
        ("KL to the teacher", soft.minus_hard.kl, -1),
    ):
        if not gap.excludes_zero:
            words.append(f"no proven difference in {name} ({interval_words(gap)})")
        else:
            sense = "better" if gap.estimate * better > 0 else "worse"
            words.append(f"{sense} {name} ({interval_words(gap)})")
    return (
        f"Soft against hard labels with {ablation.labels} labels, {ablation.seeds} seeds, "
        f"{ablation.n_test:,} test rows: {'; '.join(words)}."
    )


def interval_words(interval: IntervalEstimate | None) -> str:
    """An estimate with its 95 % interval."""
    if interval is None:
        return "–"
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def arm_rows(ablation: Ablation) -> list[list[str]]:
    """One row of words for each arm."""
    return [_row(arm) for arm in ablation.arms]


HEADERS = (
    "trained on", "agreement", "− hard", "coverage at promise", "− hard", "− TF-IDF + LR", "KL",
    "accuracy", "macro-F1", "− hard",
)  # fmt: skip


def _row(arm: Arm) -> list[str]:
    m, h, b = arm.measured, arm.minus_hard, arm.minus_baseline
    return [
        arm.name,
        interval_words(m.agreement),
        interval_words(h.agreement if h else None),
        interval_words(m.coverage_at_promise),
        interval_words(h.coverage_at_promise if h else None),
        interval_words(b.coverage_at_promise if b else None),
        interval_words(m.kl),
        interval_words(m.accuracy),
        interval_words(m.macro_f1),
        interval_words(h.macro_f1 if h else None),
    ]


def ablation_page(ablation: Ablation) -> Page:
    """Tables and curves with everything that they rest on."""
    page = Page(
        f"Ablation of {ablation.task}",
        f"{ablation.seeds} seeds · {ablation.n_train:,} training rows · "
        f"{ablation.n_test:,} test rows",
    )
    page.paragraph(verdict(ablation))
    page.table(
        HEADERS,
        arm_rows(ablation),
        "Means over seeds with 95 % intervals that resample seeds and test rows; differences are "
        f"paired. Coverage at promise: largest share kept with at most {ablation.alpha:.1%} of all "
        "rows kept and different, picked after looking. Soft arms at "
        f"T = {ablation.temperature:g}; each training chose its L2 among "
        f"{', '.join(f'{strength:g}' for strength in ablation.l2)} by its validation KL.",
    )
    page.figure(
        _curve(ablation.budgets, "teacher labels to train on", ablation.alpha),
        "How good a student would more labels buy?",
        "Agreement and coverage at the promise by number of teacher labels",
    )
    if ablation.rungs:
        page.figure(
            rungs_figure(ablation),
            "Which student for how many labels?",
            "Coverage at the promise of each student by number of teacher labels",
        )
    page.figure(
        _curve(ablation.temperatures, "temperature T of the soft loss", ablation.alpha),
        "How soft should the labels be?",
        "Agreement and coverage at the promise by training temperature",
    )
    return page


def _curve(points: Sequence[AblationPoint], x: str, alpha: float) -> Figure:
    lines = {
        "agreement, all answers": [(p.x, p.measured.agreement) for p in points],
        _promised(alpha): [(p.x, p.measured.coverage_at_promise) for p in points],
    }
    return _plot(lines, x, "share of test rows")


def rungs_figure(ablation: Ablation) -> Figure:
    """All students' coverage at the promise by number of teacher labels, in one plot."""
    lines = {
        c.name: [(p.x, p.measured.coverage_at_promise) for p in c.points] for c in ablation.rungs
    }
    return _plot(lines, "teacher labels to train on", _promised(ablation.alpha))


def _promised(alpha: float) -> str:
    return f"coverage at {1 - alpha:.1%} system agreement"


def _plot(lines: Mapping[str, Sequence[tuple[float, IntervalEstimate]]], x: str, y: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        at, values = [one for one, _ in points], [value for _, value in points]
        (line,) = axes.plot(at, [v.estimate for v in values], marker="o", label=name)
        axes.fill_between(
            at, [v.low for v in values], [v.high for v in values], alpha=0.2,
            color=line.get_color(),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{one:g}" for one in at])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
