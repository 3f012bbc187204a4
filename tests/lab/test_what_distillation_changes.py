"""The loss of a student against torch's, and slopes over layers that are known."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.what_distillation_changes import (
    REORDERED,
    TAUGHT,
    TEMPERATURE,
    distillation_loss,
    judge,
    slope,
)


def test_the_loss_is_cross_entropy_and_divergence_at_a_temperature() -> None:
    torch.manual_seed(0)
    scores, theirs = torch.randn(2, 7, 5, dtype=torch.float64)
    scores.requires_grad_()
    labels, share = torch.randint(5, (7,)), 0.3
    soft = (theirs / TEMPERATURE).softmax(dim=1)
    divergence = kl_div((scores / TEMPERATURE).log_softmax(dim=1), soft, reduction="batchmean")
    expected = (1 - share) * cross_entropy(scores, labels) + share * TEMPERATURE**2 * divergence
    ours = distillation_loss(scores, theirs, labels, share=share)
    constant = -share * TEMPERATURE**2 * (soft * soft.log()).sum(dim=1).mean()
    assert ours.item() == pytest.approx((expected + constant).item(), rel=1e-12)
    gradients = [torch.autograd.grad(loss, scores, retain_graph=True)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_a_slope_is_that_of_numpy() -> None:
    rows = np.random.default_rng(0).random((4, 6))
    expected = [np.polyfit(np.arange(6), row, 1)[0] for row in rows]
    assert slope(rows).value == pytest.approx(np.mean(expected), rel=1e-9)


def test_depth_is_judged() -> None:
    def rows(falls: float) -> list[Values]:
        found = [[1 - falls * layer + 0.001 * seed * layer for layer in range(6)] for seed in range(3)]
        return [{"CCA": row, "CKA": row} for row in found]

    def holds(taught: float, reordered: float) -> list[bool]:
        return [check.holds for check in judge(Table({TAUGHT: rows(taught), REORDERED: rows(reordered)}))][:2]

    assert holds(0.1, 0.02) == [True, True]
    assert holds(0.1, 0.1) == [True, False]
    assert holds(-0.1, 0.02) == [False, False]
