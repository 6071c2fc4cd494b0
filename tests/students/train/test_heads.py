"""Heads that learn side by side are served as one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from students.runtime.encoders.network import new_head
from students.train.heads import LearningHead, RunningAverage, dropped, mean_head
from students.train.training import TeacherRows, distillation_loss

pytestmark = pytest.mark.torch

VECTORS = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.softmax(3 * VECTORS[:, :2], dim=1)


def _heads(count, hidden=4, dropout=0.0):
    torch.manual_seed(0)
    return [LearningHead(new_head(6, hidden, 2), np.arange(300), dropout, n) for n in range(count)]


def _learn(head):
    for _ in range(3):
        head.learn(VECTORS, TeacherRows(TARGETS, 2.0, 0.1))
    return head.average()


def _weights(head):
    return torch.cat([one.detach().flatten() for one in head.parameters()])


@pytest.mark.parametrize("hidden", [0, 4])
def test_the_mean_of_heads_is_one_head(hidden):
    """Its logits are the mean of theirs, and a hidden one is as wide as all of them."""
    heads = [new_head(6, hidden, 2) for _ in range(3)]
    each = torch.stack([head(VECTORS) for head in heads])
    assert not torch.allclose(each[0], each[1])
    one = mean_head(heads)
    torch.testing.assert_close(one(VECTORS), each.mean(dim=0))
    assert (isinstance(one, nn.Sequential) and one[0].out_features == 12) == bool(hidden)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_threads_change_nothing(dropout):
    """Heads that learn at once, a thread each, come to what each comes to alone, to the bit."""
    alone = [_weights(_learn(head)) for head in _heads(4, dropout=dropout)]
    with ThreadPoolExecutor(4) as threads:
        at_once = [_weights(head) for head in threads.map(_learn, _heads(4, dropout=dropout))]
    assert all(torch.equal(a, b) for a, b in zip(alone, at_once, strict=True))
    assert not torch.allclose(alone[0], alone[1])


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize(("temperature", "hard_weight"), [(1.0, 0.0), (2.0, 0.3), (4.0, 1.0)])
def test_the_gradient_is_that_of_autograd(hidden, temperature, hard_weight):
    """Of each weight, with label mass below 1 too."""
    torch.manual_seed(0)
    head = new_head(6, hidden, 2)
    teacher = TARGETS * torch.linspace(0.3, 1.0, 300)[:, None]
    loss = distillation_loss(head(VECTORS[:9]), teacher[:9], temperature, hard_weight)
    expected = torch.autograd.grad(loss, list(head.parameters()))
    rows = TeacherRows(teacher, temperature, hard_weight)
    with torch.no_grad():
        LearningHead(head, np.arange(9), 0.0, 0)._differentiate(VECTORS, rows, torch.arange(9))
    for one, wanted in zip(head.parameters(), expected, strict=True):
        torch.testing.assert_close(one.grad, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_head_learns_what_the_teacher_says(dropout):
    """After some passes the loss is a small part of a new head's."""
    torch.manual_seed(0)
    new = new_head(6, 4, 2)
    before = distillation_loss(new(VECTORS), TARGETS).item()
    head = LearningHead(new, np.arange(300), dropout, 0)
    for _ in range(300):
        head.learn(VECTORS, TeacherRows(TARGETS, 1.0, 0.0))
    after = distillation_loss(head.average()(VECTORS), TARGETS).item()
    assert after < before * (0.05 if not dropout else 0.4)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3])
def test_dropout_leaves_out_that_share_and_keeps_the_sum(share):
    """Of a vector or a hidden layer, each value of it as often, whatever their number."""
    left, times = dropped(torch.ones(4001, 51), share, np.random.default_rng(0))
    assert torch.equal(left, times)
    assert len(left.unique()) == 2
    assert (left == 0).float().mean() == pytest.approx(share, abs=0.005)
    assert (left.mean(dim=0) - 1).abs().max() < 0.05
    assert left.mean() == pytest.approx(1, abs=0.005)


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
