"""Binary cross-entropy against torch and scikit-learn, at large scores, and its gradient."""

import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional

from trainwell.losses import binary_cross_entropy, sigmoid_cross_entropy


@pytest.mark.parametrize("pos_weight", [1.0, 2.5])
def test_it_is_torchs_mean_over_the_outputs(pos_weight: float) -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(30, 4, dtype=torch.float64)
    targets = torch.randint(2, (30, 4)).double()
    weight = torch.full((4,), pos_weight, dtype=torch.float64)
    known = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weight).mean(1)
    ours = binary_cross_entropy(pos_weight=pos_weight)(logits, targets)
    torch.testing.assert_close(ours, known, atol=1e-12, rtol=1e-12)


def test_with_one_output_it_is_scikit_learns_log_loss() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, dtype=torch.float64), (torch.arange(50) % 2).double()
    ours = sigmoid_cross_entropy(logits, targets).mean().item()
    assert ours == pytest.approx(log_loss(targets.numpy(), logits.sigmoid().numpy()), abs=1e-10)


def test_large_scores_of_either_sign_lose_nothing() -> None:
    logits = torch.tensor([[1e4], [-1e4], [40.0]], dtype=torch.float64)
    targets = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    ours = sigmoid_cross_entropy(logits, targets)
    assert ours.tolist() == pytest.approx([1e4, 1e4, math.log1p(math.exp(-40))], rel=1e-12)


def test_its_gradient_is_probability_minus_target() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(2, (5, 3)).double()
    sigmoid_cross_entropy(logits, targets).sum().backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - targets) / 3)
