"""Train the linear student: hashed n-grams, a table of logits, the teacher's soft labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from threading import Lock

import numpy as np
import numpy.typing as npt

from students.certify.calibration import calibrated_kl
from students.label.labelled import LabelledSet
from students.runtime.bundle import Trial
from students.runtime.cores import cores
from students.runtime.linear import LinearWeights
from students.train.progress import Progress
from students.train.table import Bags, FeatureTable, Lesson
from students.train.vocabulary import READINGS, FeatureReading, Vocabulary

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
        reading: how a text becomes a vector.
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

    reading: FeatureReading = READINGS[0]
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
class TrainedLinear:
    """A linear student that has learnt all its rows, and how one without the held-out did.

    Attributes:
        weights: learnt from the training and the validation rows, as the best setting was.
        trials: every setting, the best first, each learnt from the training rows alone.
        held_out: (N, K), logits of the validation rows by the best one that never learnt them.
        recipe: how the best one is trained.
    """

    weights: LinearWeights
    trials: tuple[Trial, ...]
    held_out: Float32
    recipe: LinearRecipe


@dataclass(frozen=True, eq=False)
class _Fitted:
    """One setting, learnt from the training rows.

    Attributes:
        trial: what it came to.
        held_out: (N, K), logits of the validation rows.
        rates: learning rate of each epoch that was kept.
    """

    trial: Trial
    held_out: Float32
    rates: tuple[float, ...]


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
    readings: Sequence[FeatureReading] = READINGS,
    progress: Progress | None = None,
) -> TrainedLinear:
    """Train one student for each setting, and the one of least validation KL again on all rows.

    T, reading, L2 and lambda are chosen one after the other, each with the best of those before
    it and the first of those after it: all crossed would take many times as long. The best one then
    learns the validation rows, too, by the same epochs at the same rates: labels were paid for.
    """
    search = _Search(train, validation, progress)
    search.total = 1 + sum(len(v) - 1 for v in (temperatures, readings, l2, hard_weights))
    best = replace(recipe, reading=readings[0], l2=l2[0], hard_weight=hard_weights[0])
    best = search.best(replace(best, temperature=t) for t in temperatures)
    best = search.best(replace(best, reading=r) for r in readings)
    best = search.best(replace(best, l2=strength) for strength in l2)
    best = search.best(replace(best, hard_weight=w) for w in hard_weights)
    trials = tuple(sorted(search.tried.values(), key=lambda trial: trial.kl))
    found = search.found
    search.forget()
    weights = _learnt(train, validation, best, found.rates)
    return TrainedLinear(weights, trials, found.held_out, best)


class _Search:
    """Trains settings side by side, a core each, and remembers the best of them."""

    def __init__(
        self, train: LabelledSet, validation: LabelledSet, progress: Progress | None
    ) -> None:
        self.tried: dict[LinearRecipe, Trial] = {}
        self.total = 0
        self.found: _Fitted
        self._train, self._validation = train, validation
        self._progress = progress
        self._done: dict[LinearRecipe, float] = {}
        self._place: dict[LinearRecipe, int] = {}
        self._best = math.inf, 0
        self._choosing = Lock()
        self._reading: FeatureReading | None = None
        self._read: tuple[Vocabulary, _Rows]

    def best(self, settings: Iterable[LinearRecipe]) -> LinearRecipe:
        """Train those that are new; return the best of all so far."""
        # With lambda = 1 nothing is soft, so T does not matter.
        plain = (replace(s, temperature=1.0) if s.hard_weight >= 1 else s for s in settings)
        new = [s for s in dict.fromkeys(plain) if s not in self.tried]
        for reading in dict.fromkeys(s.reading for s in new):
            self._side_by_side([s for s in new if s.reading == reading])
        return min(self.tried, key=lambda setting: self.tried[setting].kl)

    def _side_by_side(self, settings: Sequence[LinearRecipe]) -> None:
        self._keep_read(settings[0].reading)
        self._place |= {setting: len(self._place) + n for n, setting in enumerate(settings)}
        with ThreadPoolExecutor(min(len(settings), cores())) as pool:
            self.tried |= zip(settings, pool.map(self._one, settings), strict=True)

    def _one(self, setting: LinearRecipe) -> Trial:
        def report(share: float) -> None:
            self._done[setting] = share
            if self._progress:
                self._progress(round(100 * sum(self._done.values())), 100 * self.total)

        vocabulary, rows = self._read
        fitted = _fit(rows, vocabulary, setting, report)
        report(1.0)
        found = fitted.trial.kl, self._place[setting]
        with self._choosing:  # at once and not after all: each may take a hundred megabytes
            if found < self._best:
                self._best, self.found = found, fitted
        return fitted.trial

    def forget(self) -> None:
        """Let go of the vectors that were read."""
        if self._reading is not None:
            del self._read
            self._reading = None

    def _keep_read(self, reading: FeatureReading) -> None:
        """Read the texts, unless they are read so; vectors of one reading only are ever held."""
        if self._reading == reading:
            return
        self.forget()
        vocabulary = Vocabulary.of(self._train.texts, reading)
        rows = _Rows(
            vocabulary.bags(self._train.texts),
            self._train.probabilities,
            vocabulary.bags(self._validation.texts),
            self._validation.probabilities,
        )
        self._reading, self._read = reading, (vocabulary, rows)


def _fit(
    rows: _Rows, vocabulary: Vocabulary, recipe: LinearRecipe, report: Callable[[float], None]
) -> _Fitted:
    """Train until the validation KL has hardly fallen for `patience` epochs."""
    texts, classes = rows.targets.shape
    table, rng = _begun(vocabulary, texts, classes, recipe)
    lesson = _lesson(rows.targets, recipe)
    best, best_kl, best_epoch = table.weight.copy(), math.inf, 0
    said, rates = table.logits(rows.validation), []
    mark, marked = math.inf, 0
    for epoch in count(1) if recipe.epochs is None else range(1, recipe.epochs + 1):
        table.learn(rows.train, lesson, rng.permutation(texts), recipe.batch_size)
        held_out = table.logits(rows.validation)
        kl = calibrated_kl(held_out, rows.teacher)
        report(epoch / (epoch + USUAL_EPOCHS))
        if kl < best_kl:
            best_kl, best_epoch, said = kl, epoch, held_out
            np.copyto(best, table.weight)
            rates.append(table.rate)
        else:
            # Overshot: back to the best and on in smaller steps.
            np.copyto(table.weight, best)
            table.rate *= SHRINK
        if best_kl < min(mark * (1 - recipe.least_gain), mark - LEAST_NATS):
            mark, marked = best_kl, epoch
        elif epoch - marked >= recipe.patience:
            break
    trial = Trial(
        temperature=recipe.temperature,
        hard_weight=recipe.hard_weight,
        l2=recipe.l2,
        terms=recipe.reading.terms,
        least_texts=recipe.reading.least_texts,
        kl=best_kl,
        agreement=float((said.argmax(1) == rows.teacher.argmax(1)).mean()),
        epochs=best_epoch,
    )
    return _Fitted(trial, said, tuple(rates))


def _learnt(
    train: LabelledSet, validation: LabelledSet, recipe: LinearRecipe, rates: Sequence[float]
) -> LinearWeights:
    """Learn the rows of both, an epoch at each rate.

    By turns, about a batch of validation rows after its share of the others: laid end to end, the
    labels of a big pile would be held twice.
    """
    vocabulary = Vocabulary.of([*train.texts, *validation.texts], recipe.reading)
    classes = train.probabilities.shape[1]
    table, rng = _begun(vocabulary, len(train) + len(validation), classes, recipe)
    parts = [(vocabulary.bags(rows.texts), _lesson(rows.probabilities, recipe), len(rows))
             for rows in (train, validation)]  # fmt: skip
    turns = max(1, len(validation) // recipe.batch_size)
    for rate in rates:
        table.rate = rate
        orders = [np.array_split(rng.permutation(size), turns) for *_, size in parts]
        for pieces in zip(*orders, strict=True):
            for (bags, lesson, _), piece in zip(parts, pieces, strict=True):
                table.learn(bags, lesson, piece, recipe.batch_size)
    return vocabulary.weights(table.weight[:-1], table.weight[-1])


def _begun(
    vocabulary: Vocabulary, texts: int, classes: int, recipe: LinearRecipe
) -> tuple[FeatureTable, np.random.Generator]:
    """Return a table that knows nothing, and what shuffles."""
    ridge = vocabulary.ridge(texts, recipe.l2, recipe.batch_size)
    table = FeatureTable(ridge.size, classes, recipe.lr, ridge)
    return table, np.random.default_rng(recipe.seed)


def _lesson(teacher: Float32, recipe: LinearRecipe) -> Lesson:
    return Lesson.of(teacher, recipe.temperature, recipe.hard_weight)
