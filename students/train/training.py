"""The training loop of every encoder, teacher or student: soft labels in, weights out.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from students.runtime.encoders.encoder import pad
from students.train.progress import Progress

Float32 = npt.NDArray[np.float32]
Tokens = Sequence[Sequence[int]]
EpochEnd = Callable[[int], bool]
"""Called with the number of epochs done; True stops the training."""

_LEAST_MASS = 1e-10
_MINUS_ONE = torch.tensor(-1.0)
BUCKET = 50
"""Batches that are sorted by length together: large enough to waste no padding, small enough that
batches stay random."""


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train.

    Attributes:
        epochs: passes over the rows.
        batch_size: rows of a step.
        lr: peak learning rate of AdamW, after warm-up; falls to 0 linearly.
        warmup: share of the steps that warm up.
        weight_decay: of matrices; biases and norms have none.
        temperature: T of the soft loss.
        hard_weight: lambda of the hard cross-entropy.
        seed: of shuffling and of dropout.
    """

    epochs: int
    batch_size: int = 32
    lr: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    temperature: float = 1.0
    hard_weight: float = 0.0
    seed: int = 0


def distillation_loss(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0, hard_weight: float = 0.0
) -> torch.Tensor:
    """(1 - lambda) T^2 KL(p_T || student_T) + lambda CE(argmax p), averaged over rows.

    p_T is the teacher softened, p^(1/T) renormalised (Hinton 2015). Rows of `targets` (N, K) may
    sum to less than 1: mass that the teacher put on no label weighs its row down. Its gradient in
    closed form is in `TeacherRows`, and in `students.train.table` for the linear student.
    """
    mass = targets.sum(dim=1)
    soft = softened(targets, temperature)
    student = torch.log_softmax(logits / temperature, dim=1)
    # 0 log 0 is 0: what the teacher rules out stays ruled out at any T.
    kl = (torch.xlogy(soft, soft) - soft * student).sum(dim=1) * temperature**2
    loss = kl
    if hard_weight:
        hard = nn.functional.cross_entropy(logits, targets.argmax(dim=1), reduction="none")
        loss = (1 - hard_weight) * kl + hard_weight * hard
    return (loss * mass).sum() / mass.sum().clamp_min(_LEAST_MASS)


def softened(targets: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return p^(1/T) renormalised, (N, K)."""
    powered = targets ** (1 / temperature)
    return powered / powered.sum(dim=1, keepdim=True).clamp_min(1e-30)


class TeacherRows:
    """What the teacher said, ready for the gradient of `distillation_loss` over some of the rows.

    Args:
        targets: (N, K), its probabilities; rows may sum to less than 1.
        temperature: T.
        hard_weight: lambda.
    """

    def __init__(self, targets: torch.Tensor, temperature: float, hard_weight: float) -> None:
        self._soft = softened(targets, temperature)
        self._mass, self._hard = targets.sum(dim=1), targets.argmax(dim=1)
        self._temperature, self._hard_weight = temperature, hard_weight

    def gradient(self, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return (M, B, K): how the loss of each of M over its B rows changes with its logits.

        Args:
            logits: (M, B, K).
            rows: (M, B), their numbers.
        """
        weight, flat = self._hard_weight, rows.flatten()
        out = torch.softmax(logits / self._temperature, dim=-1)
        out -= self._soft.index_select(0, flat).view_as(out)
        out *= (1 - weight) * self._temperature
        if weight:
            certain = torch.softmax(logits, dim=-1)
            hard = self._hard.index_select(0, flat).view(*rows.shape, 1)
            certain.scatter_add_(-1, hard, _MINUS_ONE.expand_as(hard))
            out.add_(certain, alpha=weight)
        mass = self._mass.index_select(0, flat).view(*rows.shape, 1)
        return out.mul_(mass / mass.sum(dim=1, keepdim=True).clamp_min(_LEAST_MASS))


class Checkpoint:
    """One file that holds an unfinished training after each epoch, until it is finished."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, parts: Mapping[str, Stateful]) -> int:
        """Restore the parts, if there is a file; return the number of epochs done."""
        if not self._path.exists():
            return 0
        # weights_only: a checkpoint can hold tensors and numbers, nothing that runs.
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["epochs"])

    def save(self, parts: Mapping[str, Stateful], epochs: int) -> None:
        """Keep the parts after so many epochs; an interrupted write leaves the old file whole."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        torch.save({"epochs": epochs} | {n: p.state_dict() for n, p in parts.items()}, partial)
        partial.replace(self._path)

    def clear(self) -> None:
        """The training is finished: drop the file."""
        self._path.unlink(missing_ok=True)


class Stateful(Protocol):
    """Anything of torch whose state can be kept."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take a state."""
        ...


def train_encoder(
    network: nn.Module,
    tokens: Tokens,
    targets: Float32,
    recipe: Recipe,
    *,
    pad_id: int,
    progress: Progress | None = None,
    epoch_end: EpochEnd | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train `network` in place; `network(ids (B, L), mask (B, L))` returns logits (B, K).

    With a checkpoint, an interrupted training goes on after its last whole epoch with the same
    batches, rates and dropout that it would have had.
    """
    device = next(network.parameters()).device
    lengths = np.array([len(t) for t in tokens])
    y = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))  # (N, K)
    optimizer = torch.optim.AdamW(
        _parameter_groups(network, recipe.weight_decay), lr=recipe.lr, fused=True
    )
    per_epoch = -(-len(tokens) // recipe.batch_size)
    steps = recipe.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _triangle(step, steps, recipe.warmup)
    )
    parts: dict[str, Stateful] = {
        "network": network, "optimizer": optimizer, "schedule": schedule,
    }  # fmt: skip
    first = checkpoint.load(parts) if checkpoint else 0
    stop = bool(first and epoch_end and epoch_end(first))

    for epoch in range(first, recipe.epochs):
        if stop:
            break
        # Seeded by epoch, so that a resumed training sees what an uninterrupted one would.
        rng = np.random.default_rng([recipe.seed, epoch])
        torch.manual_seed(recipe.seed * 10_007 + epoch)
        network.train()
        for n, rows in enumerate(length_buckets(lengths, recipe.batch_size, rng), 1):
            ids, mask = pad([tokens[i] for i in rows], pad_id)  # (B, L), L of this batch
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(
                    torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
                )  # (B, K)
            loss = distillation_loss(
                logits.float(), y[rows].to(device), recipe.temperature, recipe.hard_weight
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if progress:
                progress(epoch * per_epoch + n, steps)
        if checkpoint:
            checkpoint.save(parts, epoch + 1)
        network.eval()
        stop = bool(epoch_end and epoch_end(epoch + 1))
    network.eval()
    if checkpoint:
        checkpoint.clear()


def length_buckets(
    lengths: npt.NDArray[np.integer], batch_size: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Divide all rows into batches of like length, in random order: each row exactly once."""
    order = rng.permutation(len(lengths))
    batches: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(order), BUCKET * batch_size):
        block = order[start : start + BUCKET * batch_size]
        block = block[np.argsort(lengths[block], kind="stable")]
        batches.extend(block[i : i + batch_size] for i in range(0, len(block), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def _triangle(step: int, steps: int, warmup: float) -> float:
    rise = max(1, round(steps * warmup))
    return min((step + 1) / rise, max(0.0, (steps - step) / max(1, steps - rise)))


def _parameter_groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
