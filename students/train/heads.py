"""Several heads on the same vectors, learnt side by side: their mean disagrees less than each.

The mean of M hidden heads of width H is one of width M H, whose last layer is divided by M: what is
served and exported is an ordinary head.

Door to torch: import this module only inside the functions that train.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from students.runtime.encoders.network import new_head


class HeadEnsemble:
    """M heads of one shape, W to K, with a hidden layer of H or none (H = 0).

    Each starts anew and may read other rows than the others in a step; a step of all of them is one
    batched product, hardly slower than one of the widest.

    Attributes:
        parameters: stacked over the heads: weight (M, W, H) and bias (M, 1, H) of the hidden layer,
            then (M, H, K) and (M, 1, K).
    """

    def __init__(self, heads: int, width: int, hidden: int, classes: int) -> None:
        layers = [_layers(new_head(width, hidden, classes)) for _ in range(heads)]
        self.parameters: list[torch.Tensor] = []
        for alike in zip(*layers, strict=True):
            weight = torch.stack([one.weight.detach().T for one in alike])
            bias = torch.stack([one.bias.detach()[None] for one in alike])
            self.parameters += [weight.contiguous().requires_grad_(), bias.requires_grad_()]

    def logits(self, vectors: torch.Tensor, drop: nn.Module) -> torch.Tensor:
        """Map vectors (M, B, W), each head's own, to logits (M, B, K); `drop` before each layer."""
        weight, bias, *rest = self.parameters
        out = torch.baddbmm(bias, drop(vectors), weight)
        if rest:
            weight, bias = rest
            out = torch.baddbmm(bias, drop(nn.functional.gelu(out)), weight)
        return out


def mean_head(parameters: Sequence[torch.Tensor]) -> nn.Module:
    """Return the head whose logits are the mean of the logits of all M, from their parameters."""
    heads, width, first = parameters[0].shape
    if len(parameters) == 2:  # linear ones: their mean is one of the same size
        head = new_head(width, 0, first)
        (last,) = _layers(head)
        weight, bias = parameters
        mean = weight.mean(dim=0)
    else:
        classes = parameters[2].shape[2]
        head = new_head(width, heads * first, classes)
        hidden, last = _layers(head)
        weight, bias = parameters[2:]
        mean = weight.reshape(heads * first, classes) / heads
        with torch.no_grad():
            hidden.weight.copy_(parameters[0].permute(0, 2, 1).reshape(heads * first, width))
            hidden.bias.copy_(parameters[1].reshape(heads * first))
    with torch.no_grad():
        last.weight.copy_(mean.T)
        last.bias.copy_(bias.mean(dim=0)[0])
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
