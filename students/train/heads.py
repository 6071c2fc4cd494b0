"""Several heads on the same vectors, each learnt on its own: their mean disagrees less than each.

The mean of M hidden heads of width H is one of width M H, whose last layer is divided by M: what is
served and exported is an ordinary head.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from students.runtime.encoders.network import new_head
from students.train.training import TeacherRows

_BYTES, _WORDS = 1 << 8, 1 << 64
BATCH = 256
LR = 4.2e-3
WEIGHT_DECAY = 1e-2
AVERAGED = 0.98
"""Of the running average of the weights, for each step: the average is what is judged and kept. It
disagrees with the teacher less than any rate that falls to nothing, and needs no end to be set."""


class LearningHeads:
    """Heads of one shape with an optimiser, random numbers and running averages of their weights.

    None shares anything with another: alone, each comes to the same. Side by side in one tensor
    they share the calls, which take as long as the products of layers as small as these; so does
    autograd, so that the gradient is written down: the chain rule through two layers.

    Args:
        heads: M, linear, or with a hidden layer.
        rows: for each head the numbers of the rows that it learns.
        a_pass: how many of them it reads in a pass, drawn anew: as many as the fewest, in whatever
            company, so that all have the same batches to make.
        dropout: share of the vector, and of the hidden layer, left out in a step.
        seeds: M, of shuffling and of dropout.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        rows: Sequence[npt.NDArray[np.int64]],
        a_pass: int,
        dropout: float,
        seeds: Sequence[int],
    ) -> None:
        self._heads = heads
        self._layers = [_StackedLinear(alike) for alike in zip(*map(_layers, heads), strict=True)]
        self._rows, self._a_pass = rows, a_pass
        self._dropout = dropout
        self._random = [np.random.default_rng(seed) for seed in seeds]
        parameters = [one for layers in self._layers for one in (layers.weight, layers.bias)]
        self._average = RunningAverage(parameters, AVERAGED)
        self._optimizer = torch.optim.AdamW(
            parameters, lr=LR, weight_decay=WEIGHT_DECAY, fused=True
        )

    @torch.no_grad()
    def learn(self, vectors: torch.Tensor, teacher: TeacherRows) -> None:
        """Let each read its rows of the vectors (N, W), and of the teacher, in a new order."""
        orders = [
            one.permutation(rows)[: self._a_pass]
            for one, rows in zip(self._random, self._rows, strict=True)
        ]
        for batch in torch.split(torch.from_numpy(np.stack(orders)), BATCH, dim=1):
            self._differentiate(vectors, teacher, batch)
            self._optimizer.step()
            self._average.take()

    @torch.no_grad()
    def averages(self) -> list[nn.Module]:
        """Return M heads with the running average of the weights: at least one step was made."""
        heads = [copy.deepcopy(head) for head in self._heads]
        means = self._average.parameters()
        for n, head in enumerate(heads):
            for one, mean in zip(head.parameters(), means, strict=True):
                one.copy_(mean[n].view_as(one))
        return heads

    def _differentiate(
        self, vectors: torch.Tensor, teacher: TeacherRows, batch: torch.Tensor
    ) -> None:
        """Set the gradient of each weight: of the loss of each head over its rows of (M, B)."""
        *below, last = self._layers
        read = vectors.index_select(0, batch.flatten()).view(*batch.shape, -1)
        read, _ = dropped(read, self._dropout, self._random)
        if not below:
            last.set_gradient(read, teacher.gradient(last(read), batch))
            return
        (hidden,) = below
        sums = hidden(read)
        active, kept = dropped(nn.functional.gelu(sums), self._dropout, self._random)
        found = teacher.gradient(last(active), batch)
        last.set_gradient(active, found)
        found = torch.ops.aten.gelu_backward(torch.bmm(found, last.weight).mul_(kept), sums)
        hidden.set_gradient(read, found)


class _StackedLinear:
    """A layer of each of M heads: weights (M, out, in) and biases (M, 1, out)."""

    def __init__(self, alike: Sequence[nn.Linear]) -> None:
        self.weight = torch.stack([layer.weight.detach() for layer in alike])
        self.bias = torch.stack([layer.bias.detach()[None] for layer in alike])
        for one in (self.weight, self.bias):
            one.grad = torch.zeros_like(one)

    def __call__(self, read: torch.Tensor) -> torch.Tensor:
        """Return (M, B, out) of (M, B, in)."""
        return torch.baddbmm(self.bias, read, self.weight.transpose(1, 2))

    def set_gradient(self, read: torch.Tensor, found: torch.Tensor) -> None:
        """Set it where (M, B, in) was read; with what was written the loss changes by `found`."""
        torch.bmm(found.transpose(1, 2), read, out=self.weight.grad)
        torch.sum(found, dim=1, keepdim=True, out=self.bias.grad)


def dropped(
    values: torch.Tensor, share: float, random: Sequence[np.random.Generator]
) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Return values (M, ...) of which a share is 0 and the rest larger, and what they were times.

    The share is rounded to a 256th: a random byte decides on a value, for to draw a float for each,
    as nn.Dropout does, takes as long as all else of a step.
    """
    left_out = round(share * _BYTES)
    if not left_out:
        return values, 1.0
    kept = torch.empty_like(values)
    size = values[0].numel()
    scale = np.float32(_BYTES / (_BYTES - left_out))
    for one, generator in zip(kept.numpy(), random, strict=True):
        words = generator.integers(_WORDS, size=-(-size // 8), dtype=np.uint64)
        stays = words.view(np.uint8)[:size].reshape(one.shape) >= left_out
        np.multiply(stays, scale, out=one)
    return values * kept, kept


def mean_head(heads: Sequence[nn.Module]) -> nn.Module:
    """Return the head whose logits are the mean of the logits of several of one shape."""
    layers = [_layers(head) for head in heads]
    first, last = layers[0][0], layers[0][-1]
    hidden = len(layers[0]) > 1
    width = len(heads) * first.out_features if hidden else 0
    head = new_head(first.in_features, width, last.out_features)
    with torch.no_grad():
        *below, top = _layers(head)
        for one in below:
            one.weight.copy_(torch.cat([alike[0].weight for alike in layers]))
            one.bias.copy_(torch.cat([alike[0].bias for alike in layers]))
        weights = [alike[-1].weight for alike in layers]
        # Side by side over the hidden units, which are more of them; of linear heads there are not.
        mean = torch.cat(weights, dim=1) / len(heads) if hidden else torch.stack(weights).mean(0)
        top.weight.copy_(mean)
        top.bias.copy_(torch.stack([alike[-1].bias for alike in layers]).mean(0))
    return head


class RunningAverage:
    """The running average of parameters; what was taken long ago hardly counts.

    Args:
        parameters: those that learn.
        kept: share of the average that a step leaves, in (0, 1).
    """

    def __init__(self, parameters: Sequence[torch.Tensor], kept: float) -> None:
        self._learning = list(parameters)
        self._sum = [torch.zeros_like(one) for one in parameters]
        self._kept = kept
        self._steps = 0

    def take(self) -> None:
        """Take in the parameters as they are."""
        with torch.no_grad():
            torch._foreach_lerp_(self._sum, self._learning, 1 - self._kept)
        self._steps += 1

    def parameters(self) -> list[torch.Tensor]:
        """Return the average of all that was taken: at least one step."""
        weight = -math.expm1(self._steps * math.log(self._kept))
        return [one / weight for one in self._sum]


def _layers(head: nn.Module) -> list[nn.Linear]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
