"""Do soft labels pay here? The same student from other targets, on the same seeds and test rows.

Arms: `soft` (the teacher's probabilities), `hard` (its answers), `soft + hard` (half of each),
`gold` (true labels, where every training row has one) and the baseline that any team would try
first, TF-IDF + logistic regression on the teacher's answers. A seed draws which rows are trained on
and which validate, and shuffles; the test rows are the same for all, so differences are paired by
seed and by test row, and intervals resample both. Students that were distilled already, an encoder
say, can be measured in the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from costmodel.frozen import Frozen
from students.distill.judge import (
    JudgedAnswers,
    OutcomeJudge,
    Pool,
    SettingFigures,
    drawn,
    outcome_of,
    validation_rows,
)
from students.label.labelled import LabelledSet
from students.runtime.cores import cores
from students.train.linear import LinearRecipe, train_linear
from students.train.progress import Progress

Float32 = npt.NDArray[np.float32]

SOFT, HARD, BOTH, GOLD, BASELINE = (
    "soft", "hard", "soft + hard", "gold", "TF-IDF + LR on answers",
)  # fmt: skip
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
Rungs = Callable[
    [LinearRecipe, Sequence[int], int], Mapping[str, Mapping[int, list[JudgedAnswers]]]
]
"""Outcomes by student and number of labels, one for each seed, of (recipe, numbers, seeds)."""
BUDGETS = (100, 300, 1000, 3000, 10_000, 30_000)


class Arm(Frozen):
    """One kind of target, or one student, and its paired differences: this − the other."""

    name: str
    measured: SettingFigures
    minus_hard: SettingFigures | None
    minus_baseline: SettingFigures | None


class AblationPoint(Frozen):
    """One setting of a curve."""

    x: float
    measured: SettingFigures


class Curve(Frozen):
    """One student by the number of teacher labels."""

    name: str
    points: tuple[AblationPoint, ...]


class Ablation(Frozen):
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
    budgets: tuple[AblationPoint, ...]
    """Soft student by the number of teacher labels that it is trained on."""
    temperatures: tuple[AblationPoint, ...]
    rungs: tuple[Curve, ...] = ()
    """Other students by the same budgets, the linear one first; empty where none was asked for."""


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
    finished: Mapping[str, JudgedAnswers] | None = None,
    others: Rungs | None = None,
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
        others: trains other students on the same rows and budgets, to stand beside the soft one.
        progress: called with (students trained, students in all).
    """
    base = LinearRecipe(epochs=epochs)
    n_train = len(pool.learn) - validation_rows(len(pool.learn))
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

    def run(one: tuple[tuple[str, str, float, int], int]) -> JudgedAnswers:
        nonlocal done
        (_, target, t, n), seed = one
        outcome = _train(pool, target, replace(base, temperature=t, seed=seed), n, l2)
        done += 1
        progress(done, len(jobs))
        return outcome

    with ThreadPoolExecutor(cores()) as threads:
        outcomes = list(threads.map(run, jobs))
    of = {
        job[0]: [o for (j, _), o in zip(jobs, outcomes, strict=True) if j is job]
        for job in (*hot, *arms, *small)
    }
    soft = of[f"T {chosen:g}"]
    by_name = {SOFT: soft} | {name: of[name] for name, *_ in arms}
    soft_by_size = {n: soft if n == n_train else of[f"n {n}"] for n in sizes}
    rungs = others(replace(base, temperature=chosen), sizes, seeds) if others else {}
    by_name |= {name: by_size[n_train] for name, by_size in rungs.items()}
    by_name |= {name: [one] * seeds for name, one in (finished or {}).items()}
    judge = OutcomeJudge(pool.test, alpha, seeds)

    def curve(outcomes: Mapping[Any, Sequence[JudgedAnswers]]) -> tuple[AblationPoint, ...]:
        return tuple(AblationPoint(x=x, measured=judge.measure(got)) for x, got in outcomes.items())

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
        budgets=curve(soft_by_size),
        temperatures=curve({t: of[f"T {t:g}"] for t in temperatures}),
        rungs=tuple(
            Curve(name=name, points=curve(by_size))
            for name, by_size in ({"linear": soft_by_size, **rungs} if rungs else {}).items()
        ),
    )


def _temperature(
    pool: Pool, base: LinearRecipe, temperatures: Sequence[float], l2: Sequence[float]
) -> float:
    train, validation = drawn(pool, 0, len(pool.learn))
    trained = train_linear(train, validation, base, temperatures, (0.0,), l2)
    return trained.trials[0].temperature


def _train(
    pool: Pool, target: str, recipe: LinearRecipe, n: int, l2: Sequence[float]
) -> JudgedAnswers:
    train, validation = drawn(pool, recipe.seed, n)
    if target == BASELINE:
        return _baseline(pool, train, validation)
    if target == GOLD:
        train, validation = (
            replace(rows, probabilities=_one_hot(rows.gold, len(rows.schema)))
            for rows in (train, validation)
        )
    weight = {HARD: 1.0, BOTH: 0.5}.get(target, 0.0)
    trained = train_linear(train, validation, recipe, (recipe.temperature,), (weight,), l2)
    weights = trained.weights
    return outcome_of(pool, weights.logits(pool.temperature.texts), weights.logits(pool.test.texts))


def _baseline(pool: Pool, train: LabelledSet, validation: LabelledSet) -> JudgedAnswers:
    """Word 1-2-grams, sublinear TF-IDF, logistic regression on the teacher's answers.

    It learns the validation rows with the others, as the students do in the end.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit(
        [*train.texts, *validation.texts], np.concatenate([train.teacher, validation.teacher])
    )

    def logits(texts: Sequence[str]) -> Float32:
        out = np.full((len(texts), len(train.schema)), np.log(1e-6), np.float32)
        out[:, model.classes_] = np.log(np.maximum(model.predict_proba(texts), 1e-6))
        return out

    return outcome_of(pool, logits(pool.temperature.texts), logits(pool.test.texts))


def _one_hot(labels: npt.NDArray[np.integer], classes: int) -> Float32:
    rows: Float32 = np.eye(classes, dtype=np.float32)[labels]
    return rows
