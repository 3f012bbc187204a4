"""Hinge losses against torch's multi_margin_loss, the lecture's example, soft targets and kinks."""

import pytest
import torch
from torch.nn import functional

from trainwell.losses import hinge, squared_hinge, sum_of_hinges, sum_of_squared_hinges


@pytest.mark.parametrize(("ours", "power"), [(sum_of_hinges, 1), (sum_of_squared_hinges, 2)])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_it_is_torchs_multi_margin_loss_without_its_division_by_k(ours: object, power: int, margin: float) -> None:
    torch.manual_seed(0)
    scores, ids = 2 * torch.randn(60, 5, dtype=torch.float64), torch.arange(60) % 5
    known = 5 * functional.multi_margin_loss(scores, ids, p=power, margin=margin, reduction="none")
    torch.testing.assert_close(ours(scores, ids, margin=margin), known, atol=1e-12, rtol=1e-12)  # type: ignore[operator]


def test_the_lectures_three_samples_cost_2_9_0_and_12_9() -> None:
    """cs231n, lecture 3: scores of cat, car, frog for a cat, a car and a frog."""
    scores = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], dtype=torch.float64)
    assert hinge()(scores, torch.arange(3)).tolist() == pytest.approx([2.9, 0.0, 12.9])


@pytest.mark.parametrize("build", [hinge, squared_hinge])
def test_soft_targets_cost_the_mean_over_their_classes(build: object) -> None:
    torch.manual_seed(0)
    scores, criterion = torch.randn(7, 4, dtype=torch.float64), build(margin=1.0)  # type: ignore[operator]
    soft = torch.rand(7, 4, dtype=torch.float64)
    soft /= soft.sum(1, keepdim=True)
    each = torch.stack([criterion(scores, torch.full((7,), label)) for label in range(4)], dim=1)
    torch.testing.assert_close(criterion(scores, soft), (soft * each).sum(1))


def test_a_score_exactly_at_the_margin_has_no_gradient() -> None:
    scores = torch.tensor([[2.0, 1.0]], requires_grad=True)
    hinge()(scores, torch.tensor([0])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0.0, 0.0]]
