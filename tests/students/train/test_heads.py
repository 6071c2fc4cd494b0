"""HeadEnsemble that learn side by side are served as one."""

import numpy as np
import pytest
import torch
from torch import nn

from students.train.heads import HeadEnsemble, RunningAverage, mean_head

pytestmark = pytest.mark.torch

VECTORS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("hidden", [0, 4])
def test_the_mean_of_heads_is_one_head(hidden):
    """Its logits are the mean of theirs, and a hidden one is as wide as all of them."""
    torch.manual_seed(0)
    heads = HeadEnsemble(3, 6, hidden, 2)
    each = heads.logits(VECTORS.expand(3, -1, -1), nn.Identity())
    assert not torch.allclose(each[0], each[1])
    one = mean_head(heads.parameters)
    torch.testing.assert_close(one(VECTORS), each.mean(dim=0))
    assert (isinstance(one, nn.Sequential) and one[0].out_features == 12) == bool(hidden)


def test_each_head_learns_from_its_own_rows():
    """What one head reads moves no other."""
    torch.manual_seed(0)
    heads = HeadEnsemble(2, 6, 4, 2)
    heads.logits(VECTORS.expand(2, -1, -1), nn.Identity())[0].sum().backward()
    for stacked in heads.parameters:
        assert stacked.grad[0].abs().sum() > 0
        assert stacked.grad[1].abs().sum() == 0


def test_the_average_forgets():
    """One step is itself; later ones weigh kept^n, as if it had always been so."""
    learning = [torch.tensor([4.0])]
    average = RunningAverage(learning, 0.5)
    average.take()
    assert average.parameters()[0].item() == pytest.approx(4.0)
    learning[0].fill_(1.0)
    average.take()
    assert average.parameters()[0].item() == pytest.approx((0.25 * 4 + 0.5 * 1) / 0.75)
    for _ in range(40):
        average.take()
    np.testing.assert_allclose(average.parameters()[0].numpy(), 1.0, rtol=1e-6)
