"""Heads that learn side by side are served as one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from students.runtime.encoders.network import new_head
from students.train.heads import LearningHeads, RunningAverage, dropped, mean_head
from students.train.training import TeacherRows, distillation_loss

pytestmark = pytest.mark.torch

VECTORS = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
TARGETS = torch.softmax(3 * VECTORS[:, :2], dim=1)


ROWS = np.arange(300)


def _new(which, hidden, dropout):
    heads = []
    for n in which:
        torch.manual_seed(n)
        heads.append(new_head(6, hidden, 2))
    return LearningHeads(heads, [ROWS[n:] for n in which], 290, dropout, which)


def _learn(learning):
    for _ in range(3):
        learning.learn(VECTORS, TeacherRows(TARGETS, 2.0, 0.1))
    return [_weights(head) for head in learning.averages()]


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


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_company_changes_nothing(hidden, dropout):
    """Alone, side by side or a thread each: every head comes to the same."""
    alone = [_learn(_new((n,), hidden, dropout))[0] for n in range(4)]
    pairs = [_new(which, hidden, dropout) for which in ((0, 1), (2, 3))]
    with ThreadPoolExecutor(2) as threads:
        together = [one for pair in threads.map(_learn, pairs) for one in pair]
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_a_pass_reads_so_many_rows_of_each_head_and_none_of_another():
    """Each once at most, drawn anew in every pass."""
    read = []

    class Rows(TeacherRows):
        def gradient(self, logits, rows):
            read.append(rows)
            return super().gradient(logits, rows)

    heads = [new_head(6, 4, 2) for _ in range(2)]
    learning = LearningHeads(heads, [np.arange(150), np.arange(150, 300)], 140, 0.0, (0, 1))
    for _ in range(2):
        learning.learn(VECTORS, Rows(TARGETS, 2.0, 0.1))
    assert [rows.shape for rows in read] == [(2, 140)] * 2
    for rows in read:
        assert (rows[0] < 150).all()
        assert (rows[1] >= 150).all()
        assert len(rows.unique()) == 280
    assert set(read[0][0].tolist()) != set(read[1][0].tolist())


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
    other = new_head(6, hidden, 2)
    learning = LearningHeads([other, head], [ROWS, ROWS], 9, 0.0, (0, 1))
    with torch.no_grad():
        learning._differentiate(
            VECTORS, rows, torch.stack([torch.arange(100, 109), torch.arange(9)])
        )
    found = [one.grad[1] for layer in learning._layers for one in (layer.weight, layer.bias)]
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one.view_as(wanted), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_head_learns_what_the_teacher_says(dropout):
    """After some passes the loss is a small part of a new head's."""
    torch.manual_seed(0)
    new = new_head(6, 4, 2)
    before = distillation_loss(new(VECTORS), TARGETS).item()
    learning = LearningHeads([new], [ROWS], 300, dropout, (0,))
    for _ in range(300):
        learning.learn(VECTORS, TeacherRows(TARGETS, 1.0, 0.0))
    [head] = learning.averages()
    after = distillation_loss(head(VECTORS), TARGETS).item()
    assert after < before * (0.05 if not dropout else 0.4)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3])
def test_dropout_leaves_out_that_share_and_keeps_the_sum(share):
    """Of a vector or a hidden layer, each value of it as often, whatever their number."""
    random = [np.random.default_rng(n) for n in range(2)]
    (other, left), times = dropped(torch.ones(2, 4001, 51), share, random)
    assert torch.equal(left, times[1])
    assert not torch.equal(left, other)
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
