"""Train a head on a frozen encoder: embed each text once, then learn in seconds.

The vectors are kept, so that another promise, more labels or another head cost no forward pass.
What comes out is an encoder student like any other: encoder and head in one file, with the same
runtime, exports and probes.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from students.train.embedding import embed, fingerprint, opened
from students.train.encoder import TrainedEncoder, load_base, longest_of, tokenizing
from students.train.heads import HeadEnsemble, RunningAverage, mean_head
from students.train.profiling import one_core
from students.train.progress import Progress
from students.train.training import distillation_loss

Float32 = npt.NDArray[np.float32]

MOST_EPOCHS = 200
"""Never reached: training stops when the validation KL does."""
TRIAL_STEPS = 100
"""Steps after which settings are compared; the best is trained to its end."""
PATIENCE = 3
WORTH_IT = 0.005
"""Share of the validation KL; `PATIENCE` epochs that gain less together have learnt nothing."""
LEAST_NATS = 1e-4
"""A KL that nears 0 may fall by the same share for ever; no decision moves with it."""
HEADS = 4
"""Hidden heads that learn side by side; what is kept is their mean."""
HIDDEN = 256
"""Width of each of them."""
BATCH = 128
LR = 3e-3
AVERAGED = 0.99
"""Of the running average of the weights, for each step: the average is what is judged and kept. It
disagrees with the teacher less than any rate that falls to nothing, and needs no end to be set."""
WEIGHT_DECAY = 1e-2
DROPOUTS = (0.0, 0.3)


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained.

    Attributes:
        hidden: width of the hidden layer of each of `HEADS` heads; 0 is one linear head.
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
    """Standardised vectors (N, W) and the teacher's probabilities (N, K), training rows first."""

    vectors: torch.Tensor
    teacher: Float32
    training: int


@dataclass(frozen=True, eq=False)
class _FittedHead:
    """A head, what it came to, and its logits (N, K) of the validation rows."""

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
    then with every lambda and with dropout. All are compared after a few epochs, and the best is
    trained to its end, and then as long on the validation rows, too: labels were paid for.

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
    rows = _Rows(
        torch.from_numpy((vectors - mean) / scale),
        np.concatenate([train.probabilities, validation.probabilities]),
        len(train),
    )
    # A second thread would wait at the end of each small product for longer than it computes.
    with one_core():
        setting, trials, held_out = _search(rows, recipe, temperatures, hard_weights)
        everything = replace(rows, training=len(texts))
        head = _fit(everything, replace(setting, epochs=trials[0].epochs)).head
    network.head = _folded(head, mean, scale)
    return TrainedEncoder(network.eval(), tokenizer.to_str(), longest, pad_id, trials, held_out)


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
) -> tuple[HeadRecipe, tuple[Trial, ...], Float32]:
    """Return the best setting, all trials, its own first, and its logits of the validation rows."""
    tried: dict[HeadRecipe, Trial] = {}
    epochs = -(-TRIAL_STEPS * BATCH // rows.training)

    def best(settings: Iterator[HeadRecipe]) -> HeadRecipe:
        for setting in settings:
            if setting not in tried:
                tried[setting] = _fit(rows, replace(setting, epochs=epochs)).trial
        return min(tried, key=lambda setting: tried[setting].kl)

    lam = hard_weights[0]
    chosen = best(
        replace(recipe, temperature=1.0 if lam >= 1 else t, hard_weight=lam) for t in temperatures
    )
    chosen = best(replace(chosen, hidden=h) for h in (HIDDEN, 0))
    chosen = best(replace(chosen, hard_weight=w) for w in hard_weights)
    chosen = best(replace(chosen, dropout=p) for p in DROPOUTS)
    fitted = _fit(rows, replace(chosen, epochs=recipe.epochs))
    others = sorted((t for s, t in tried.items() if s != chosen), key=lambda t: t.kl)
    return chosen, (fitted.trial, *others), fitted.held_out


def _fit(rows: _Rows, recipe: HeadRecipe) -> _FittedHead:
    """Train heads on the training rows and keep the mean of the running averages of their weights.

    It stops where the average's validation KL has stopped falling; without validation rows, after
    the recipe's epochs.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    width, classes = rows.vectors.shape[1], rows.teacher.shape[1]
    # The mean of linear heads would be what one learns.
    side_by_side = HEADS if recipe.hidden else 1
    heads = HeadEnsemble(side_by_side, width, recipe.hidden, classes)
    average = RunningAverage(heads.parameters, AVERAGED)
    drop = nn.Dropout(recipe.dropout)
    optimizer = torch.optim.AdamW(heads.parameters, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    targets, judged = torch.from_numpy(rows.teacher), rows.teacher[rows.training :]
    best = _FittedHead(
        mean_head(heads.parameters),
        Trial(kl=math.inf, agreement=0.0),
        np.empty((0, classes), np.float32),
    )
    mark, marked = math.inf, 0
    for epoch in range(1, (recipe.epochs or MOST_EPOCHS) + 1):
        orders = np.stack([rng.permutation(rows.training) for _ in range(side_by_side)])
        for batch in torch.split(torch.from_numpy(orders), BATCH, dim=1):
            logits = heads.logits(rows.vectors[batch], drop)
            loss = distillation_loss(
                logits.flatten(0, 1),
                targets[batch.flatten()],
                recipe.temperature,
                recipe.hard_weight,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            average.take()
        if len(judged) == 0:
            continue
        found = mean_head(average.parameters())
        with torch.inference_mode():
            held_out = found(rows.vectors[rows.training :]).numpy()
        kl = calibrated_kl(held_out, judged)
        if kl < best.trial.kl:
            trial = Trial(
                temperature=recipe.temperature,
                hard_weight=recipe.hard_weight,
                kl=kl,
                agreement=float((held_out.argmax(1) == judged.argmax(1)).mean()),
                epochs=epoch,
            )
            best = _FittedHead(found, trial, held_out)
        if best.trial.kl < min(mark * (1 - WORTH_IT), mark - LEAST_NATS):
            mark, marked = best.trial.kl, epoch
        elif epoch - marked >= PATIENCE:
            break
    return best if len(judged) else replace(best, head=mean_head(average.parameters()))


def _folded(head: nn.Module, mean: Float32, scale: Float32) -> nn.Module:
    """Move the standardisation into the head's first layer: W (x - m) / s + b."""
    first: Any = head[0] if isinstance(head, nn.Sequential) else head
    with torch.no_grad():
        first.weight /= torch.from_numpy(scale)
        first.bias -= first.weight @ torch.from_numpy(mean)
    return head
