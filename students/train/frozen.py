"""Train a head on a frozen encoder: embed each text once, then learn in seconds.

The vectors are kept, so that another promise, more labels or another head cost no forward pass.
What comes out is an encoder student like any other: encoder and head in one file, with the same
runtime, exports and probes.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn

from students.certify.calibration import calibrated_kl
from students.label.labelled import LabelledSet
from students.runtime.bundle import Trial
from students.runtime.cores import cores
from students.runtime.encoders.network import new_head
from students.train.embedding import embed, fingerprint, opened
from students.train.encoder import TrainedEncoder, load_base, longest_of, tokenizing
from students.train.heads import BATCH, LearningHeads, mean_head
from students.train.profiling import one_core
from students.train.progress import Progress
from students.train.training import TeacherRows

Float32 = npt.NDArray[np.float32]

MOST_EPOCHS = 200
"""Never reached: training stops when the validation KL does."""
TRIAL_STEPS = 70
"""Steps after which settings are compared; the best is trained to its end."""
PATIENCE = 3
WORTH_IT = 0.005
"""Share of the validation KL; `PATIENCE` epochs that gain less together have learnt nothing."""
LEAST_NATS = 1e-4
"""A KL that nears 0 may fall by the same share for ever; no decision moves with it."""
HEADS = 4
"""Heads that learn side by side, on as many cores; what is kept is their mean."""
TOGETHER = 1.5
"""Times the epochs after which each disagrees least with the teacher: their mean still gains."""
HIDDEN = 256
"""Width of each of them."""
DROPOUTS = (0.0, 0.3)
_SEEDING = threading.Lock()
"""Torch has one generator for all threads."""


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained.

    Attributes:
        hidden: width of the hidden layer of each of `HEADS` heads; 0: they are linear.
        temperature: T of the soft loss.
        hard_weight: lambda of the hard cross-entropy.
        dropout: share of the vector, and of the hidden layer, left out in a step.
        epochs: most passes; None trains until the validation KL has stopped falling.
        seed: of the weights, of shuffling and of dropout.
    """

    hidden: int = HIDDEN
    temperature: float = 1.0
    hard_weight: float = 0.0
    dropout: float = 0.0
    epochs: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to learn and rows to judge by.

    Attributes:
        vectors: (N, W), standardised; training rows first, then validation rows.
        teacher: (N, K), its probabilities.
        part: (N,), of the validation rows, 0 to HEADS - 1: a text and its copies are in one; -1 for
            training rows.
    """

    vectors: torch.Tensor
    teacher: Float32
    part: npt.NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Float32, train: LabelledSet, validation: LabelledSet, seed: int) -> _Rows:
        """Take standardised vectors of both; parts are drawn."""
        _, text = np.unique(np.array(validation.texts, dtype=object), return_inverse=True)
        drawn = np.random.default_rng(seed).permutation(text.max(initial=-1) + 1) % HEADS
        return cls(
            torch.from_numpy(vectors),
            np.concatenate([train.probabilities, validation.probabilities]),
            np.concatenate([np.full(len(train), -1), drawn[text]]),
        )


@dataclass(frozen=True, eq=False)
class _FittedHead:
    """A head, what it came to, and logits (N, K) of validation rows as if it had learnt none."""

    head: nn.Module
    trial: Trial
    held_out: Float32


def train_frozen_student(
    train: LabelledSet,
    validation: LabelledSet,
    base: Path,
    recipe: HeadRecipe,
    temperatures: Sequence[float] = (1.0,),
    hard_weights: Sequence[float] = (0.0,),
    *,
    cache: Path,
    progress: Progress | None = None,
) -> TrainedEncoder:
    """Embed with the encoder at `base` and train the head that is best on the validation rows.

    The hidden head is tried with every T, a linear one with the best of them; the better of the two
    then with every lambda and with dropout. All are compared after a few epochs of one head, and
    the best is trained to its end.

    Args:
        train: rows to learn.
        validation: rows that choose the setting and when to stop.
        base: local Hugging Face folder; nothing is downloaded.
        recipe: epochs and seed; the rest is searched.
        temperatures: T to try.
        hard_weights: lambda to try.
        cache: folder in which vectors are kept.
        progress: called with (texts embedded, texts in all).

    Raises:
        BadTask: there is no encoder at `base`.
        BadInputs: the cache cannot be used.
    """
    network, tokenizer, pad_id = load_base(base, len(train.schema), recipe.seed)
    longest = longest_of(network)
    encode = tokenizing(tokenizer, longest)
    texts = [*train.texts, *validation.texts]
    with opened(cache, fingerprint(network, tokenizer.to_str(), longest)) as kept:
        vectors = embed(network, encode, texts, pad_id, kept, progress)
    mean, scale = _standard(vectors[: len(train)])
    rows = _Rows.of((vectors - mean) / scale, train, validation, recipe.seed)
    # A head, not a product, is what a second core gets: it would wait at the end of each small one
    # for longer than it computes.
    with one_core():
        fitted, others = _search(rows, recipe, temperatures, hard_weights)
    network.head = _folded(fitted.head, mean, scale)
    trials = (fitted.trial, *others)
    return TrainedEncoder(
        network.eval(), tokenizer.to_str(), longest, pad_id, trials, fitted.held_out
    )


def frozen_logits(
    trained: TrainedEncoder, texts: Sequence[str], cache: Path, progress: Progress | None = None
) -> Float32:
    """Return the logits (N, K) of a head on a frozen encoder, from vectors that are kept."""
    network, longest = trained.network, trained.max_length
    encode = tokenizing(Tokenizer.from_str(trained.tokenizer_json), longest)
    with opened(cache, fingerprint(network, trained.tokenizer_json, longest)) as kept:
        vectors = embed(network, encode, texts, trained.pad_id, kept, progress)
    with torch.inference_mode():
        logits: Float32 = network.head(torch.from_numpy(vectors)).numpy()
    return logits


def _standard(vectors: Float32) -> tuple[Float32, Float32]:
    """Return mean and deviation (W,) of the training vectors; a constant dimension scales by 1."""
    deviation = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)


def _search(
    rows: _Rows, recipe: HeadRecipe, temperatures: Sequence[float], hard_weights: Sequence[float]
) -> tuple[_FittedHead, list[Trial]]:
    """Return the head of the best setting, and the trials of the others, best first."""
    tried: dict[HeadRecipe, Trial] = {}
    epochs = -(-TRIAL_STEPS * BATCH // int((rows.part < 0).sum()))

    def best(settings: Iterable[HeadRecipe]) -> HeadRecipe:
        new = [setting for setting in settings if setting not in tried]
        fits = threads.map(lambda one: _fit(rows, replace(one, epochs=epochs), 1).trial, new)
        tried.update(zip(new, fits, strict=True))
        return min(tried, key=lambda setting: tried[setting].kl)

    lam = hard_weights[0]
    with ThreadPoolExecutor(cores()) as threads:
        chosen = best(
            replace(recipe, temperature=t, hard_weight=lam)
            for t in ((1.0,) if lam >= 1 else dict.fromkeys(temperatures))
        )
        chosen = best(replace(chosen, hidden=h) for h in (HIDDEN, 0))
        chosen = best(replace(chosen, hard_weight=w) for w in dict.fromkeys(hard_weights))
        chosen = best(replace(chosen, dropout=p) for p in DROPOUTS)
    fitted = _fit(rows, replace(chosen, epochs=recipe.epochs), HEADS)
    return fitted, sorted((t for s, t in tried.items() if s != chosen), key=lambda t: t.kl)


def _fit(rows: _Rows, recipe: HeadRecipe, heads: int) -> _FittedHead:
    """Train heads side by side and keep the mean of their running averages.

    Each learns the training rows and all validation rows but a share of its own, by which it is
    judged: labels were paid for, and all of them are learnt without learning twice. A single head
    learns none of them. It stops some time after the KL over all shares has stopped falling.
    """
    width, classes = rows.vectors.shape[1], rows.teacher.shape[1]
    part = np.where(rows.part < 0, -1, rows.part % heads)
    learning = _learning(
        recipe, (width, classes), [np.flatnonzero(part != n) for n in range(heads)]
    )
    shares = [part[part >= 0] == n for n in range(heads)]
    held_out, judged = rows.vectors[part >= 0], rows.teacher[part >= 0]
    teacher = TeacherRows(torch.from_numpy(rows.teacher), recipe.temperature, recipe.hard_weight)
    least = mark = math.inf
    epoch, best, marked, last = 0, 0, 0, recipe.epochs or MOST_EPOCHS
    with ThreadPoolExecutor(len(learning)) as threads:
        while epoch < last:
            epoch += 1
            list(threads.map(lambda some: some.learn(rows.vectors, teacher), learning))
            found = [head for some in learning for head in some.averages()]
            logits = np.empty_like(judged)
            with torch.inference_mode():
                for head, share in zip(found, shares, strict=True):
                    logits[share] = head(held_out[share]).numpy()
            kl = calibrated_kl(logits, judged)
            if kl < least:
                least, best = kl, epoch
            if least < min(mark * (1 - WORTH_IT), mark - LEAST_NATS):
                mark, marked = least, epoch
            elif epoch == marked + PATIENCE:
                last = min(last, round(best * (TOGETHER if heads > 1 else 1)))
    trial = Trial(
        temperature=recipe.temperature,
        hard_weight=recipe.hard_weight,
        kl=kl,
        agreement=float((logits.argmax(1) == judged.argmax(1)).mean()),
        epochs=epoch,
    )
    return _FittedHead(mean_head(found), trial, logits)


def _learning(
    recipe: HeadRecipe, shape: tuple[int, int], rows: Sequence[npt.NDArray[np.int64]]
) -> list[LearningHeads]:
    """Return a new head for each of the rows given, (W, K), some of them for each core."""
    with _SEEDING:
        torch.manual_seed(recipe.seed)
        heads = [new_head(shape[0], recipe.hidden, shape[1]) for _ in rows]
    seeds = [recipe.seed * HEADS + n for n in range(len(rows))]
    least = min(map(len, rows))
    return [
        LearningHeads(heads[n], rows[n], least, recipe.dropout, seeds[n])
        for n in _shared(len(rows), min(len(rows), cores()))
    ]


def _shared(heads: int, among: int) -> list[slice]:
    """Divide heads evenly."""
    ends = [heads * n // among for n in range(among + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def _folded(head: nn.Module, mean: Float32, scale: Float32) -> nn.Module:
    """Move the standardisation into the head's first layer: W (x - m) / s + b."""
    first: Any = head[0] if isinstance(head, nn.Sequential) else head
    with torch.no_grad():
        first.weight /= torch.from_numpy(scale)
        first.bias -= first.weight @ torch.from_numpy(mean)
    return head
