"""The loss and the batches that every encoder is trained with."""

import numpy as np
import pytest
import torch

from students.train.training import distillation_loss, length_buckets

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], requires_grad=True)
TARGETS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])


def test_at_temperature_one_the_gradient_is_that_of_soft_cross_entropy():
    """KL differs from cross-entropy by the teacher's entropy alone."""
    (kl,) = torch.autograd.grad(distillation_loss(LOGITS, TARGETS), LOGITS)
    ce = -(TARGETS * torch.log_softmax(LOGITS, 1)).sum(1).mean()
    (expected,) = torch.autograd.grad(ce, LOGITS)
    assert torch.allclose(kl, expected, atol=1e-6)


def test_high_temperatures_match_logits_and_keep_the_gradient_in_scale():
    """T² KL at high T tends to half the mean squared difference of centred logits (Hinton 2015)."""
    teacher = torch.log_softmax(torch.tensor([[1.0, 0.0, -2.0]]), 1)
    student = torch.tensor([[0.3, 0.6, -0.9]])
    gap = (student - student.mean()) - (teacher - teacher.mean())
    loss = distillation_loss(student, teacher.exp(), temperature=200.0)
    assert loss.item() == pytest.approx((gap**2).mean().item() / 2, rel=0.02)


def test_hard_weight_one_is_plain_cross_entropy_on_the_answer():
    """λ = 1 uses nothing but the teacher's answer."""
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS.argmax(1))
    found = distillation_loss(LOGITS, TARGETS, hard_weight=1.0)
    assert found.item() == pytest.approx(expected.item())


def test_low_label_mass_is_weighed_down_not_renormalised_away():
    """A row on which the teacher wanted to say something else counts by its label mass."""
    scaled = TARGETS * torch.tensor([[1.0], [0.01]])
    only_first = distillation_loss(LOGITS[:1], TARGETS[:1]).item()
    assert distillation_loss(LOGITS, scaled).item() == pytest.approx(only_first, abs=0.02)


def test_buckets_hold_each_row_once_and_like_lengths():
    """Nothing is lost or doubled, and a batch needs hardly any padding."""
    lengths = np.random.default_rng(0).integers(3, 128, 1003)
    batches = length_buckets(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1003))
    padded = sum(lengths[b].max() * len(b) for b in batches)
    assert padded < 1.1 * lengths.sum()
    assert [len(b) for b in batches].count(16) >= 62
