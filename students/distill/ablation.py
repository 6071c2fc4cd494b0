"""Do soft labels pay here? The same student from other targets, on the same seeds and test rows.

Arms: `soft` (the teacher's probabilities), `hard` (its answers), `soft + hard` (half of each),
`gold` (true labels, where every training row has one) and the baseline that any team would try
first, TF-IDF + logistic regression on the teacher's answers. A seed draws which rows are trained on
and which validate, and shuffles; the test rows are the same for all, so differences are paired by
seed and by test row, and intervals resample both. Students that were distilled already, an encoder
say, can be measured in the same table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from students.certify.calibration import fit_temperature
from students.confidence import confidence, softmax
from students.distill.linear import LinearRecipe, train_linear
from students.distill.progress import Progress
from students.evaluation import Interval
from students.label.labelled import LabelledSet

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

SOFT, HARD, BOTH, GOLD, BASELINE = (
    "soft", "hard", "soft + hard", "gold", "TF-IDF + LR on answers",
)  # fmt: skip
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
BUDGETS = (100, 300, 1000, 3000, 10_000, 30_000)
VALIDATION_SHARE = 0.15
RESAMPLES = 500
METRICS = ("agreement", "coverage_at_promise", "kl", "accuracy", "macro_f1")
GOLD_METRICS = ("accuracy", "macro_f1")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(_Part):
    """Means over seeds on the test rows; the intervals resample seeds and test rows."""

    agreement: Interval
    coverage_at_promise: Interval
    """Largest share kept while at most alpha of all rows are kept and disagree; after looking."""
    kl: Interval
    """KL(teacher || student) in nats, after temperature scaling."""
    accuracy: Interval | None
    macro_f1: Interval | None
    """These two against gold; None without gold."""


class Arm(_Part):
    """One kind of target, or one student, and its paired differences: this − the other."""

    name: str
    measured: Measured
    minus_hard: Measured | None
    minus_baseline: Measured | None


class Point(_Part):
    """One setting of a curve."""

    x: float
    measured: Measured


class Ablation(_Part):
    """Everything that `raisehand ablate` reports."""

    task: str
    seeds: int
    n_train: int
    n_test: int
    n_gold: int
    labels: int
    alpha: float
    temperature: float
    """T of the soft arms: the one of least validation KL on the first seed."""
    l2: tuple[float, ...]
    """Strengths of the L2 penalty that every training chose from by its validation KL."""
    arms: tuple[Arm, ...]
    budgets: tuple[Point, ...]
    """Soft student by the number of teacher labels that it is trained on."""
    temperatures: tuple[Point, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
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


def ablate(
    task: str,
    pool: Pool,
    alpha: float,
    *,
    seeds: int = 5,
    epochs: int | None = None,
    budgets: Sequence[int] = BUDGETS,
    temperatures: Sequence[float] = TEMPERATURES,
    l2: Sequence[float] = (0.0,),
    finished: Mapping[str, Outcome] | None = None,
    progress: Progress = lambda done, total: None,
) -> Ablation:
    """Train every arm on every seed and compare in pairs.

    Args:
        task: its name.
        pool: the rows; nothing of `test` is ever trained on.
        alpha: allowed disagreement over all traffic, for coverage at promise.
        seeds: at least 2.
        epochs: most epochs of a student; None: until it has learnt.
        budgets: sizes of the label-budget curve; those above the rows at hand are left out.
        temperatures: T of the temperature curve.
        l2: strengths of the L2 penalty; each training keeps the one of least validation KL.
        finished: students made before, by name, on the same test rows; only these are resampled.
        progress: called with (students trained, students in all).
    """
    base = LinearRecipe(epochs=epochs)
    n_train = len(pool.learn) - _validation_rows(len(pool.learn))
    sizes = sorted({n for n in budgets if n < n_train} | {n_train})
    hot = [(f"T {t:g}", SOFT, t, n_train) for t in temperatures]
    chosen = _temperature(pool, base, temperatures, l2)
    arms = [(BOTH, BOTH, chosen, n_train), (HARD, HARD, 1.0, n_train)]
    if (pool.learn.gold >= 0).all():
        arms.append((GOLD, GOLD, 1.0, n_train))
    arms.append((BASELINE, BASELINE, 1.0, n_train))
    small = [(f"n {n}", SOFT, chosen, n) for n in sizes if n != n_train]
    jobs = [(job, seed) for job in (*hot, *arms, *small) for seed in range(seeds)]
    done = 0

    def run(one: tuple[tuple[str, str, float, int], int]) -> Outcome:
        nonlocal done
        (_, target, t, n), seed = one
        outcome = _train(pool, target, replace(base, temperature=t, seed=seed), n, l2)
        done += 1
        progress(done, len(jobs))
        return outcome

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        outcomes = list(threads.map(run, jobs))
    of = {
        job[0]: [o for (j, _), o in zip(jobs, outcomes, strict=True) if j is job]
        for job in (*hot, *arms, *small)
    }
    soft = of[f"T {chosen:g}"]
    by_name = {SOFT: soft} | {name: of[name] for name, *_ in arms}
    by_name |= {name: [one] * seeds for name, one in (finished or {}).items()}
    judge = _Judge(pool.test, alpha, seeds)
    return Ablation(
        task=task,
        seeds=seeds,
        n_train=n_train,
        n_test=len(pool.test),
        n_gold=int((pool.test.gold >= 0).sum()),
        labels=len(pool.test.schema),
        alpha=alpha,
        temperature=chosen,
        l2=tuple(l2),
        arms=tuple(
            Arm(
                name=name,
                measured=judge.measure(got),
                minus_hard=judge.measure(got, by_name[HARD]) if name != HARD else None,
                minus_baseline=judge.measure(got, by_name[BASELINE]) if name != BASELINE else None,
            )
            for name, got in by_name.items()
        ),
        budgets=tuple(
            Point(x=n, measured=judge.measure(soft if n == n_train else of[f"n {n}"]))
            for n in sizes
        ),
        temperatures=tuple(
            Point(x=t, measured=judge.measure(of[f"T {t:g}"])) for t in temperatures
        ),
    )


def _validation_rows(n: int) -> int:
    return max(1, round(n * VALIDATION_SHARE))


def _draw(pool: Pool, seed: int, n: int) -> tuple[LabelledSet, LabelledSet]:
    """Training rows (n) and validation rows of a seed; a smaller n is a part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(pool.learn))
    held_out = _validation_rows(len(pool.learn))
    # A small budget of labels must also pay for its validation rows.
    few = min(held_out, max(20, round(n * VALIDATION_SHARE)))
    return pool.learn.take(order[held_out : held_out + n]), pool.learn.take(order[:few])


def _temperature(
    pool: Pool, base: LinearRecipe, temperatures: Sequence[float], l2: Sequence[float]
) -> float:
    train, validation = _draw(pool, 0, len(pool.learn))
    _, trials = train_linear(train, validation, base, temperatures, (0.0,), l2)
    return trials[0].temperature


def _train(pool: Pool, target: str, recipe: LinearRecipe, n: int, l2: Sequence[float]) -> Outcome:
    train, validation = _draw(pool, recipe.seed, n)
    if target == BASELINE:
        return _baseline(pool, train)
    if target == GOLD:
        train = replace(train, probabilities=_one_hot(train.gold, len(train.schema)))
    weight = {HARD: 1.0, BOTH: 0.5}.get(target, 0.0)
    weights, _ = train_linear(train, validation, recipe, (recipe.temperature,), (weight,), l2)
    return _outcome(pool, weights.logits(pool.temperature.texts), weights.logits(pool.test.texts))


def _baseline(pool: Pool, train: LabelledSet) -> Outcome:
    """Word 1-2-grams, sublinear TF-IDF, logistic regression on the teacher's answers."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit(train.texts, train.teacher)

    def logits(texts: Sequence[str]) -> Float32:
        out = np.full((len(texts), len(train.schema)), np.log(1e-6), np.float32)
        out[:, model.classes_] = np.log(np.maximum(model.predict_proba(texts), 1e-6))
        return out

    return _outcome(pool, logits(pool.temperature.texts), logits(pool.test.texts))


def _one_hot(labels: npt.NDArray[np.integer], classes: int) -> Float32:
    rows: Float32 = np.eye(classes, dtype=np.float32)[labels]
    return rows


def _outcome(pool: Pool, tuning: Float32, logits: Float32) -> Outcome:
    t = fit_temperature(tuning, pool.temperature.probabilities)
    p = softmax(logits.astype(np.float64), t)
    return judged(pool.test, p, confidence(p))


def judged(test: LabelledSet, p: Floats, sure: Floats) -> Outcome:
    """Compare probabilities (N, K) and how sure each is (N,) with the teacher and with gold."""
    said, target = p.argmax(axis=1), test.probabilities
    share = target / np.maximum(target.sum(axis=1, keepdims=True), 1e-12)
    kl = (share * (np.log(np.maximum(share, 1e-12)) - np.log(np.maximum(p, 1e-12)))).sum(axis=1)
    return Outcome(
        said == test.teacher,
        sure,
        kl,
        said,
    )


def coverage_at_promise(agree: Bools, confidence: Floats, alpha: float) -> float:
    """Largest share that can be kept while at most alpha of ALL rows are kept and disagree."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~agree[order])
    kept = np.flatnonzero(wrong <= alpha * agree.size)
    return float((kept[-1] + 1) / agree.size) if kept.size else 0.0


def macro_f1(gold: Ints, said: Ints) -> float:
    """Mean F1 over the classes that occur in gold; both (N,)."""
    k = int(max(gold.max(), said.max())) + 1
    support, answered = np.bincount(gold, minlength=k), np.bincount(said, minlength=k)
    right = np.bincount(gold[gold == said], minlength=k)
    f1 = 2 * right / np.maximum(support + answered, 1)
    return float(f1[support > 0].mean())


class _Judge:
    """Measures outcomes on one set of seeds and test rows, all with the same resamples."""

    def __init__(self, test: LabelledSet, alpha: float, seeds: int) -> None:
        rng = np.random.default_rng(0)
        n = len(test)
        self._alpha = alpha
        self._seen: dict[tuple[int, ...], Floats] = {}
        self._gold = test.gold
        self._has_gold = bool((test.gold >= 0).any())
        # The first is the sample itself: its figures are the estimates.
        self._draws = [(np.arange(seeds), np.arange(n))] + [
            (rng.integers(seeds, size=seeds), rng.integers(n, size=n)) for _ in range(RESAMPLES)
        ]

    def measure(
        self, outcomes: Sequence[Outcome], less: Sequence[Outcome] | None = None
    ) -> Measured:
        """Means over seeds, or the paired difference to other outcomes."""
        values = self._cached(outcomes)
        if less is not None:
            values = values - self._cached(less)
        fields = {
            name: Interval(
                estimate=float(values[0, i]),
                low=float(np.quantile(values[1:, i], 0.025)),
                high=float(np.quantile(values[1:, i], 0.975)),
            )
            for i, name in enumerate(METRICS)
            if name not in GOLD_METRICS or self._has_gold
        }
        return Measured.model_validate(dict.fromkeys(GOLD_METRICS) | fields)

    def _cached(self, outcomes: Sequence[Outcome]) -> Floats:
        key = tuple(id(one) for one in outcomes)
        if key not in self._seen:
            self._seen[key] = self._values(outcomes)
        return self._seen[key]

    def _values(self, outcomes: Sequence[Outcome]) -> Floats:
        return np.array(
            [
                np.mean([self._row(outcomes[int(s)], rows) for s in seeds], axis=0)
                for seeds, rows in self._draws
            ]
        )

    def _row(self, one: Outcome, rows: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """The figures of `METRICS` on these rows."""
        agree = one.agree[rows]
        known = rows[self._gold[rows] >= 0]
        gold, said = self._gold[known], one.said[known]
        return (
            float(agree.mean()),
            coverage_at_promise(agree, one.confidence[rows], self._alpha),
            float(one.kl[rows].mean()),
            float((said == gold).mean()) if self._has_gold else 0.0,
            macro_f1(gold, said) if self._has_gold else 0.0,
        )
