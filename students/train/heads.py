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


class LearningHead:
    """A head with an optimiser, random numbers and a running average of its weights.

    It shares nothing with others: several can learn at once, a thread each, and come to the same.
    The gradient is written down, the chain rule through two layers: with layers as small as these
    autograd takes half as long again.

    Args:
        head: linear, or with a hidden layer; it is trained in place.
        rows: (n,), the numbers of the rows that it learns.
        dropout: share of the vector, and of the hidden layer, left out in a step.
        seed: of shuffling and of dropout.
    """

    def __init__(
        self, head: nn.Module, rows: npt.NDArray[np.int64], dropout: float, seed: int
    ) -> None:
        self._head = head
        self._layers = _layers(head)
        self._rows = torch.from_numpy(rows)
        self._dropout = dropout
        self._random = np.random.default_rng(seed)
        parameters = list(head.parameters())
        for one in parameters:
            one.grad = torch.zeros_like(one)
        self._average = RunningAverage(parameters, AVERAGED)
        self._optimizer = torch.optim.AdamW(
            parameters, lr=LR, weight_decay=WEIGHT_DECAY, fused=True
        )

    @torch.no_grad()
    def learn(self, vectors: torch.Tensor, teacher: TeacherRows) -> None:
        """Read its rows of the vectors (N, W), and of the teacher, once, in a new order."""
        order = torch.from_numpy(self._random.permutation(len(self._rows)))
        for batch in torch.split(self._rows[order], BATCH):
            self._differentiate(vectors, teacher, batch)
            self._optimizer.step()
            self._average.take()

    def average(self) -> nn.Module:
        """Return a head with the running average of the weights: at least one step was made."""
        head = copy.deepcopy(self._head)
        with torch.no_grad():
            for one, mean in zip(head.parameters(), self._average.parameters(), strict=True):
                one.copy_(mean)
        return head

    def _differentiate(
        self, vectors: torch.Tensor, teacher: TeacherRows, batch: torch.Tensor
    ) -> None:
        """Set the gradient of each weight: of the loss over the rows numbered (B,)."""
        *below, last = self._layers
        read, _ = dropped(vectors.index_select(0, batch), self._dropout, self._random)
        if not below:
            _set_gradient(last, read, teacher.gradient(last(read), batch))
            return
        (hidden,) = below
        sums = hidden(read)
        active, kept = dropped(nn.functional.gelu(sums), self._dropout, self._random)
        found = teacher.gradient(last(active), batch)
        _set_gradient(last, active, found)
        found = torch.ops.aten.gelu_backward((found @ last.weight).mul_(kept), sums)
        _set_gradient(hidden, read, found)


def dropped(
    values: torch.Tensor, share: float, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Return values of which a share is 0 and the rest larger, and what they were times.

    The share is rounded to a 256th: a random byte decides on a value, for to draw a float for each,
    as nn.Dropout does, takes as long as all else of a step.
    """
    left_out = round(share * _BYTES)
    if not left_out:
        return values, 1.0
    words = random.integers(_WORDS, size=-(-values.numel() // 8), dtype=np.uint64)
    stays = words.view(np.uint8)[: values.numel()].reshape(values.shape) >= left_out
    scale = np.float32(_BYTES / (_BYTES - left_out))
    kept = torch.from_numpy(np.multiply(stays, scale, dtype=np.float32))
    return values * kept, kept


def _set_gradient(layer: nn.Linear, read: torch.Tensor, found: torch.Tensor) -> None:
    """Set that of a layer which read (B, W); with what it wrote the loss changes by (B, K)."""
    torch.mm(found.T, read, out=layer.weight.grad)
    torch.sum(found, dim=0, out=layer.bias.grad)


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
