"""Batch norm over parts of a batch against torch's own, and its noise against that of Gaussian samples."""

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.batch_norm_batches import (
    NOISE_OVER,
    NORMS,
    SIZES,
    STATISTICS,
    WHOLE,
    PartsNorm,
    change_by_company,
    judge,
    noise,
)
from trainwell.layers import make_norm


def inputs() -> torch.Tensor:
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_over_the_whole_batch_it_is_torchs_batch_norm_in_both_modes_and_backward() -> None:
    ours, theirs = PartsNorm(5, 12), nn.BatchNorm1d(5)
    for _ in range(3):
        here, there = (inputs().requires_grad_() for _ in range(2))
        one, other = ours(here), theirs(there)
        torch.testing.assert_close(one, other)
        for outputs in (one, other):
            outputs.pow(3).sum().backward()
        torch.testing.assert_close(here.grad, there.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(inputs()), theirs.eval()(inputs()))


def test_over_parts_it_is_torchs_batch_norm_of_each_part() -> None:
    theirs = torch.cat([nn.BatchNorm1d(5)(part) for part in inputs().split(4)])
    torch.testing.assert_close(PartsNorm(5, 4)(inputs()), theirs)


def test_over_two_samples_nothing_is_left_but_a_sign() -> None:
    torch.testing.assert_close(PartsNorm(5, 2)(inputs()).abs(), torch.ones(12, 5), rtol=1e-3, atol=1e-3)


def test_its_running_variance_is_right_on_average_for_small_parts_too() -> None:
    torch.manual_seed(0)
    norm = PartsNorm(1, 2)
    for _ in range(200):
        norm(2 * torch.randn(1_000, 1))
    assert norm.running_var.item() == pytest.approx(4, rel=0.1)  # 19 steps of 1,000 samples: 1.5 % is one sigma


@pytest.mark.parametrize("count", [32, 128])
def test_the_noise_of_gaussian_samples_is_that_of_mean_and_deviation(count: int) -> None:
    """Of m samples the mean has variance 1/m, the deviation 1/2m: x is normalized with a variance of (1 + x^2/2)/m."""
    features = torch.randn(4_000, 100, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(100, 50, generator=torch.Generator().manual_seed(0)) / 10
    x = (features @ weight / weight.norm(dim=0))[0]
    expected = ((1 + x.square() / 2).mean() / count).sqrt().item()
    assert noise(features, count, 0) == pytest.approx(expected, rel=0.1)


def test_only_batch_norm_changes_scores_by_company() -> None:
    for norm, does_change in (("batch", True), ("layer", False), ("group:groups=2", False)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 8), make_norm(norm, 8, 0), nn.Linear(8, 3))
        assert (change_by_company(network, inputs()) > 1e-5) is does_change


def test_a_norm_that_minds_and_noise_that_does_not_regularize_are_judged_so() -> None:
    def table(lost: float, gap: float) -> Table:
        cells = {
            f"{name}, batches of {size}": [{"accuracy": 0.9 - lost * (size == SIZES[0]), "change by company": 0.0}] * 3
            for name in NORMS
            for size in SIZES
        }
        losses = {
            f"statistics over {count}": [{"training loss": 0.1, "held-out loss": 0.2 + gap * count, "accuracy": 0.9}]
            * 3
            for count in STATISTICS
        }
        modes = {"forgotten": [0.9 - lost] * 3, "forgotten, one class": [0.1] * 3}
        curve = {"noise": [1 / np.sqrt(count) for count in NOISE_OVER]}
        losses[f"statistics over {WHOLE}"] = [{**losses[f"statistics over {WHOLE}"][0], **modes, **curve}] * 3  # type: ignore[dict-item]
        return Table({**cells, **losses})

    assert [check.holds for check in judge(table(0.2, 0.01))] == [True, False, False, *[True] * 6]
    assert [check.holds for check in judge(table(0.0, -0.001))] == [
        *[False, True, True, False],
        *[True] * 4,
        False,
    ]
