"""Train the encoder student: any local Hugging Face encoder, all its weights, soft labels.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from students.certify.calibration import calibrated_kl
from students.errors import BadTask
from students.label.labelled import LabelledSet
from students.runtime.bundle import Trial
from students.runtime.encoders.encoder import CHARACTERS_PER_TOKEN, TOKENIZER, pad
from students.runtime.encoders.network import (
    EncoderNetwork,
    TorchForward,
    new_network,
    save_network,
)
from students.train.progress import Progress
from students.train.training import Checkpoint, Recipe, Tokens, train_encoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TOKENS = 256
PATIENCE = 1
SMALL_WIDTH = 512
"""Encoders up to this width learn best at the higher rate."""
SMALL_LR, LARGE_LR = 2e-4, 5e-5
BATCH = 64


@dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """A trained network with the tokenizer it was trained with.

    `held_out` (N, K) are logits of the validation rows by weights that had not learnt them.
    """

    network: EncoderNetwork
    tokenizer_json: str
    max_length: int
    pad_id: int
    trials: tuple[Trial, ...]
    held_out: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Rows:
    train: Tokens
    targets: npt.NDArray[np.float32]
    validation: Tokens
    teacher: npt.NDArray[np.float32]
    pad_id: int


def train_encoder_student(
    train: LabelledSet,
    validation: LabelledSet,
    base: Path,
    recipe: Recipe,
    temperatures: Sequence[float] = (1.0,),
    hard_weights: Sequence[float] = (0.0,),
    *,
    gradient_checkpointing: bool = False,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> TrainedEncoder:
    """Fine-tune with the T and lambda that were best after one epoch each.

    Args:
        train: rows to learn.
        validation: rows that choose T, lambda and when to stop.
        base: local Hugging Face folder; nothing is downloaded.
        recipe: epochs, batch size and seed; `lr` 0 chooses by the encoder's width.
        temperatures: T to try.
        hard_weights: lambda to try.
        gradient_checkpointing: recompute activations instead of keeping them.
        checkpoints: folder in which an interrupted training is kept and taken up again.
        progress: called with (steps done, steps in all).

    Raises:
        BadTask: there is no encoder at `base`.
    """
    classes = len(train.schema)

    def fresh() -> tuple[EncoderNetwork, Tokenizer, int]:
        loaded = load_base(base, classes, recipe.seed)
        if gradient_checkpointing:
            loaded[0].recompute_activations()
        return loaded

    network, tokenizer, pad_id = fresh()
    width = network.width
    if not recipe.lr:
        recipe = replace(recipe, lr=SMALL_LR if width <= SMALL_WIDTH else LARGE_LR)
    encode = tokenizing(tokenizer, longest_of(network))
    rows = _Rows(
        encode(train.texts), train.probabilities, encode(validation.texts),
        validation.probabilities, pad_id,
    )  # fmt: skip
    settings = [
        replace(recipe, temperature=t, hard_weight=w)
        for t, w in dict.fromkeys(
            (1.0 if w >= 1 else t, w) for t in temperatures for w in hard_weights
        )
    ]
    tried: list[Trial] = []
    if len(settings) > 1:
        tried = [_fit(fresh()[0], rows, replace(s, epochs=1))[1] for s in settings]
        best = min(range(len(settings)), key=lambda i: tried[i].kl)
    else:
        best = 0
    keep = _checkpoint(checkpoints, train, base, settings[best]) if checkpoints else None
    network, trial = _fit(network, rows, settings[best], keep, progress)
    others = sorted((t for i, t in enumerate(tried) if i != best), key=lambda t: t.kl)
    longest = max(map(len, rows.train))
    held_out = logits_of(network, tokenizer, longest, pad_id, validation.texts)
    return TrainedEncoder(network, tokenizer.to_str(), longest, pad_id, (trial, *others), held_out)


def _fit(
    network: EncoderNetwork,
    rows: _Rows,
    recipe: Recipe,
    keep: Checkpoint | None = None,
    progress: Progress | None = None,
) -> tuple[EncoderNetwork, Trial]:
    """Train with early stopping on the validation KL; return the best epoch's network."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    best_kl, best_epoch, agreement = math.inf, 0, 0.0
    best = copy.deepcopy(network.state_dict())

    def epoch_end(epoch: int) -> bool:
        nonlocal best_kl, best_epoch, agreement, best
        logits = _logits(network, rows.validation, rows.pad_id, device)
        kl = calibrated_kl(logits, rows.teacher)
        if kl < best_kl:
            best_kl, best_epoch = kl, epoch
            agreement = float((logits.argmax(1) == rows.teacher.argmax(1)).mean())
            best = copy.deepcopy(network.state_dict())
        return epoch - best_epoch > PATIENCE

    train_encoder(
        network, rows.train, rows.targets, recipe, pad_id=rows.pad_id, progress=progress,
        epoch_end=epoch_end, checkpoint=keep,
    )  # fmt: skip
    network.load_state_dict(best)
    return network.cpu().eval(), Trial(
        temperature=recipe.temperature,
        hard_weight=recipe.hard_weight,
        kl=best_kl,
        agreement=agreement,
        epochs=best_epoch,
    )


def _logits(
    network: EncoderNetwork, tokens: Tokens, pad_id: int, device: str
) -> npt.NDArray[np.float32]:
    forward = TorchForward(network, device)
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    out = np.empty((len(tokens), network.classes), np.float32)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        out[batch] = forward(*pad([tokens[i] for i in batch], pad_id))
    return out


def logits_of(
    network: EncoderNetwork, tokenizer: Tokenizer, longest: int, pad_id: int, texts: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Return the logits (N, K) of a trained network on the CPU, in order."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logits = _logits(network.to(device), tokenizing(tokenizer, longest)(texts), pad_id, device)
    network.cpu()
    return logits


def load_base(base: Path, classes: int, seed: int) -> tuple[EncoderNetwork, Tokenizer, int]:
    """Load a pre-trained encoder with a new head, its tokenizer and its padding token.

    Raises:
        BadTask: there is no encoder with a fast tokenizer at `base`.
    """
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    try:
        network = new_network(base, classes)
        tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True, use_fast=True)
        backend = tokenizer.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise BadTask(
            f"student.encoder_path {base} is not a local Hugging Face encoder with a fast "
            f"tokenizer: {' '.join(str(error).split())[:200]}"
        ) from None
    backend.no_padding()
    return network, backend, tokenizer.pad_token_id or 0


def longest_of(network: EncoderNetwork) -> int:
    """Return how many tokens of a text are read."""
    positions = getattr(network.encoder.config, "max_position_embeddings", MOST_TOKENS)
    return int(min(MOST_TOKENS, positions))


def tokenizing(tokenizer: Tokenizer, longest: int) -> Callable[[Sequence[str]], list[list[int]]]:
    """Return a function from texts to token ids, cut at `longest`."""
    tokenizer.enable_truncation(longest)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        cut = [
            t[: longest * CHARACTERS_PER_TOKEN].encode("utf-8", "replace").decode() for t in texts
        ]
        return [one.ids for one in tokenizer.encode_batch_fast(cut)]

    return encode


def _checkpoint(folder: Path, train: LabelledSet, base: Path, recipe: Recipe) -> Checkpoint:
    """Name the checkpoint by everything that the result depends on."""
    key = json.dumps([train.sha256, str(base.resolve()), asdict(recipe)], sort_keys=True)
    return Checkpoint(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt")


def save_encoder(trained: TrainedEncoder, folder: Path) -> None:
    """Write what `students.runtime.load` reads: weights, config.json and tokenizer.json."""
    save_network(trained.network, folder)
    (folder / TOKENIZER).write_text(trained.tokenizer_json, encoding="utf-8")
