"""What is measured of a student in an ablation, and how two are compared: paired, with intervals.

Outcomes are resampled by seed and by test row, all with the same resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodel.frozen import Frozen
from students.certify.calibration import fit_temperature
from students.certify.scoring import coverage_at_promise, macro_f1
from students.confidence import confidence, softmax
from students.evaluation import IntervalEstimate
from students.label.labelled import LabelledSet

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

VALIDATION_SHARE = 0.15
RESAMPLES = 500
METRICS = ("agreement", "coverage_at_promise", "kl", "accuracy", "macro_f1")
GOLD_METRICS = ("accuracy", "macro_f1")


class SettingFigures(Frozen):
    """Means over seeds on the test rows; the intervals resample seeds and test rows."""

    agreement: IntervalEstimate
    coverage_at_promise: IntervalEstimate
    """Largest share kept while at most alpha of all rows are kept and disagree; after looking."""
    kl: IntervalEstimate
    """KL(teacher || student) in nats, after temperature scaling."""
    accuracy: IntervalEstimate | None
    macro_f1: IntervalEstimate | None
    """These two against gold; None without gold."""


@dataclass(frozen=True, eq=False)
class JudgedAnswers:
    """One student on the test rows: (N,) each."""

    agree: Bools
    confidence: Floats
    kl: Floats
    said: Ints


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows to draw training and validation from, rows to calibrate on, rows to judge by."""

    learn: LabelledSet
    temperature: LabelledSet
    test: LabelledSet


def validation_rows(n: int) -> int:
    """Return how many of n rows validate."""
    return max(1, round(n * VALIDATION_SHARE))


def drawn(pool: Pool, seed: int, n: int) -> tuple[LabelledSet, LabelledSet]:
    """Training rows (n) and validation rows of a seed; a smaller n is a part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(pool.learn))
    held_out = validation_rows(len(pool.learn))
    # A small budget of labels must also pay for its validation rows.
    few = min(held_out, max(20, round(n * VALIDATION_SHARE)))
    return pool.learn.take(order[held_out : held_out + n]), pool.learn.take(order[:few])


def outcome_of(pool: Pool, tuning: Float32, logits: Float32) -> JudgedAnswers:
    """Judge the logits of the test rows, calibrated with those of the temperature rows."""
    t = fit_temperature(tuning, pool.temperature.probabilities)
    p = softmax(logits.astype(np.float64), t)
    return judged(pool.test, p, confidence(p))


def judged(test: LabelledSet, p: Floats, sure: Floats) -> JudgedAnswers:
    """Compare probabilities (N, K) and how sure each is (N,) with the teacher and with gold."""
    said, target = p.argmax(axis=1), test.probabilities
    share = target / np.maximum(target.sum(axis=1, keepdims=True), 1e-12)
    kl = (share * (np.log(np.maximum(share, 1e-12)) - np.log(np.maximum(p, 1e-12)))).sum(axis=1)
    return JudgedAnswers(
        said == test.teacher,
        sure,
        kl,
        said,
    )


class OutcomeJudge:
    """Measures outcomes on one set of seeds and test rows, all with the same resamples."""

    def __init__(self, test: LabelledSet, alpha: float, seeds: int) -> None:
        rng = np.random.default_rng(0)
        n = len(test)
        self._allowed = np.full(n, alpha * n)
        self._seen: dict[tuple[int, ...], Floats] = {}
        self._gold = test.gold
        self._has_gold = bool((test.gold >= 0).any())
        # The first is the sample itself: its figures are the estimates.
        self._draws = [(np.arange(seeds), np.arange(n))] + [
            (rng.integers(seeds, size=seeds), rng.integers(n, size=n)) for _ in range(RESAMPLES)
        ]

    def measure(
        self, outcomes: Sequence[JudgedAnswers], less: Sequence[JudgedAnswers] | None = None
    ) -> SettingFigures:
        """Means over seeds, or the paired difference to other outcomes."""
        values = self._cached(outcomes)
        if less is not None:
            values = values - self._cached(less)
        fields = {
            name: IntervalEstimate(
                estimate=float(values[0, i]),
                low=float(np.quantile(values[1:, i], 0.025)),
                high=float(np.quantile(values[1:, i], 0.975)),
            )
            for i, name in enumerate(METRICS)
            if name not in GOLD_METRICS or self._has_gold
        }
        return SettingFigures.model_validate(dict.fromkeys(GOLD_METRICS) | fields)

    def _cached(self, outcomes: Sequence[JudgedAnswers]) -> Floats:
        key = tuple(id(one) for one in outcomes)
        if key not in self._seen:
            self._seen[key] = self._values(outcomes)
        return self._seen[key]

    def _values(self, outcomes: Sequence[JudgedAnswers]) -> Floats:
        return np.array(
            [
                np.mean([self._row(outcomes[int(s)], rows) for s in seeds], axis=0)
                for seeds, rows in self._draws
            ]
        )

    def _row(self, one: JudgedAnswers, rows: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """The figures of `METRICS` on these rows."""
        agree = one.agree[rows]
        known = rows[self._gold[rows] >= 0]
        gold, said = self._gold[known], one.said[known]
        return (
            float(agree.mean()),
            coverage_at_promise(one.confidence[rows], agree, self._allowed),
            float(one.kl[rows].mean()),
            float((said == gold).mean()) if self._has_gold else 0.0,
            macro_f1(gold, said) if self._has_gold else 0.0,
        )
