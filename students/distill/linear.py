"""Train the linear student: hashed n-grams, a table of logits, the teacher's soft labels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import numpy.typing as npt

from students.certify.calibration import calibrated_kl
from students.distill.progress import Progress
from students.distill.table import Bags, Lesson, Table
from students.label.labelled import LabelledSet
from students.runtime import hashing
from students.runtime.bundle import Trial
from students.runtime.linear import LinearWeights

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

SHRINK = 0.3
LEAST_NATS = 1e-5
"""A KL that nears 0 may fall by the same share for ever; no decision moves with it."""
USUAL_EPOCHS = 20
"""For the progress that is shown only: how many there will be is not known."""


@dataclass(frozen=True)
class LinearRecipe:
    """How a linear student is trained.

    Attributes:
        shortest: characters of the shortest n-gram.
        longest: characters of the longest n-gram.
        buckets: places of the hash, a power of two.
        least_texts: a feature seen in fewer training texts is left out.
        temperature: T of the soft loss.
        hard_weight: lambda of the hard cross-entropy.
        l2: strength of the penalty l2 / 2 |W|^2 beside the loss summed over the training texts,
            scikit-learn's 1 / C; the bias is free.
        epochs: most passes over the rows; None: as many as there is something to learn.
        patience: epochs in a row in which the validation KL gains less than `least_gain` in all
            before it stops; each that gains nothing goes back to the best weights and shrinks the
            rate.
        least_gain: share of the KL; below `LEAST_NATS` it does not count either.
        batch_size: rows of a step.
        lr: learning rate of Adagrad.
        seed: of shuffling.
    """

    shortest: int = 2
    longest: int = 4
    buckets: int = 1 << 18
    least_texts: int = 2
    temperature: float = 1.0
    hard_weight: float = 0.0
    l2: float = 0.0
    epochs: int | None = None
    patience: int = 3
    least_gain: float = 0.002
    batch_size: int = 64
    lr: float = 0.2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The features that training kept, the most frequent first.

    Attributes:
        slots: (buckets,), row of each bucket in the table, -1 where it was left out.
        weight: (rows,), inverse document frequency of each row.
        seen: (rows,), share of the training texts that have each row.
    """

    slots: Int32
    weight: Float32
    seen: Float32

    @classmethod
    def of(cls, texts: Sequence[str], recipe: LinearRecipe) -> Vocabulary:
        """Keep the features seen in at least `least_texts` texts."""
        features, offsets = _hashed(texts, recipe)
        text = np.repeat(np.arange(len(texts)), np.diff(offsets))
        once = np.unique(text * recipe.buckets + features)
        seen = np.bincount(once % recipe.buckets, minlength=recipe.buckets)
        kept = np.flatnonzero(seen >= recipe.least_texts)
        kept = kept[np.argsort(-seen[kept], kind="stable")]
        slots = np.full(recipe.buckets, -1, np.int32)
        slots[kept] = np.arange(kept.size, dtype=np.int32)
        weight = 1.0 + np.log((1 + len(texts)) / (1 + seen[kept]))
        share = seen[kept] / len(texts)
        return cls(slots, weight.astype(np.float32), share.astype(np.float32))

    def bags(self, texts: Sequence[str], recipe: LinearRecipe) -> Bags:
        """Turn texts into unit vectors over the table's rows; its last row, the bias, is in all."""
        features, offsets = _hashed(texts, recipe)
        rows = self.slots[features]
        before = np.concatenate([[0], np.cumsum(rows >= 0)])
        rows, ends = rows[rows >= 0], before[offsets]
        weight = self.weight[rows]
        # Counts enter linearly: |x|^2 is the sum over occurrences, as in runtime.hashing.logits.
        running = np.concatenate([[0.0], np.cumsum(weight.astype(np.float64) ** 2)])
        length = np.sqrt(np.maximum(running[ends[1:]] - running[ends[:-1]], 1e-12))
        shares = (weight / np.repeat(length, np.diff(ends))).astype(np.float32)
        return Bags(
            np.insert(rows, ends[1:], self.weight.size),
            np.insert(shares, ends[1:], 1.0),
            ends + np.arange(ends.size),
        )

    def ridge(self, texts: int, recipe: LinearRecipe) -> Float32:
        """Return how much of its weight each row (rows + 1,), the bias last, adds to its gradient.

        The loss of a batch is a mean, so the penalty is l2 / (2 n) |W|^2. A step reads only the
        rows that its batch meets: dividing by the chance of being met, 1 - (1 - seen)^batch, gives
        each row its full penalty on average.
        """
        met = 1.0 - (1.0 - self.seen.astype(np.float64)) ** recipe.batch_size
        return np.append(recipe.l2 / texts / met, 0.0).astype(np.float32)


def _hashed(texts: Sequence[str], recipe: LinearRecipe) -> tuple[Int32, Int64]:
    data, offsets = hashing.pack(texts)
    features, ends = hashing.bag(data, offsets, recipe.shortest, recipe.longest, recipe.buckets)
    return features, ends


@dataclass(frozen=True, eq=False)
class _Rows:
    train: Bags
    targets: Float32
    validation: Bags
    teacher: Float32


def train_linear(
    train: LabelledSet,
    validation: LabelledSet,
    recipe: LinearRecipe,
    temperatures: Sequence[float] = (1.0,),
    hard_weights: Sequence[float] = (0.0,),
    l2: Sequence[float] = (0.0,),
    progress: Progress | None = None,
) -> tuple[LinearWeights, tuple[Trial, ...]]:
    """Train one student for each setting and keep the one of least validation KL.

    Every T is tried with every lambda and with every strength of L2, a second lambda with
    the first L2 only: both crossed would take a third longer by default.

    Returns:
        The best weights, and every trial, the best first.
    """
    vocabulary = Vocabulary.of(train.texts, recipe)
    rows = _Rows(
        vocabulary.bags(train.texts, recipe),
        train.probabilities,
        vocabulary.bags(validation.texts, recipe),
        validation.probabilities,
    )
    # With lambda = 1 nothing is soft, so T does not matter.
    settings = [
        replace(recipe, temperature=t, hard_weight=w, l2=r)
        for t, w, r in dict.fromkeys(
            (1.0 if w >= 1 else t, w, r)
            for t in temperatures
            for w in hard_weights
            for r in l2
            if w == hard_weights[0] or r == l2[0]
        )
    ]
    done = [0.0] * len(settings)

    def fit(number: int) -> tuple[Trial, LinearWeights]:
        def report(share: float) -> None:
            done[number] = share
            if progress:
                progress(round(100 * sum(done)), 100 * len(settings))

        table, bias, trial = _fit(rows, vocabulary, settings[number], report)
        report(1.0)
        return trial, LinearWeights.of(
            recipe.shortest, recipe.longest, vocabulary.slots, vocabulary.weight, table, bias
        )

    with ThreadPoolExecutor(min(len(settings), os.cpu_count() or 1)) as pool:
        found = sorted(pool.map(fit, range(len(settings))), key=lambda pair: pair[0].kl)
    return found[0][1], tuple(trial for trial, _ in found)


def _fit(
    rows: _Rows, vocabulary: Vocabulary, recipe: LinearRecipe, report: Callable[[float], None]
) -> tuple[Float32, Float32, Trial]:
    """Train until the validation KL has hardly fallen for `patience` epochs; return the best."""
    ridge = vocabulary.ridge(len(rows.targets), recipe)
    table = Table(ridge.size, rows.targets.shape[1], recipe.lr, ridge)
    lesson = Lesson.of(rows.targets, recipe.temperature, recipe.hard_weight)
    rng = np.random.default_rng(recipe.seed)
    best, best_kl, best_epoch = table.weight.copy(), math.inf, 0
    mark, marked, agreement = math.inf, 0, 0.0
    for epoch in count(1) if recipe.epochs is None else range(1, recipe.epochs + 1):
        table.learn(rows.train, lesson, rng.permutation(len(rows.targets)), recipe.batch_size)
        held_out = table.logits(rows.validation)
        kl = calibrated_kl(held_out, rows.teacher)
        report(epoch / (epoch + USUAL_EPOCHS))
        if kl < best_kl:
            best, best_kl, best_epoch = table.weight.copy(), kl, epoch
            agreement = float((held_out.argmax(1) == rows.teacher.argmax(1)).mean())
        else:
            # Overshot: back to the best and on in smaller steps.
            table.weight = best.copy()
            table.rate *= SHRINK
        if best_kl < min(mark * (1 - recipe.least_gain), mark - LEAST_NATS):
            mark, marked = best_kl, epoch
        elif epoch - marked >= recipe.patience:
            break
    trial = Trial(
        temperature=recipe.temperature,
        hard_weight=recipe.hard_weight,
        l2=recipe.l2,
        kl=best_kl,
        agreement=agreement,
        epochs=best_epoch,
    )
    return best[:-1], best[-1], trial
