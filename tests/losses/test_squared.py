"""Squared error against torch and scikit-learn, for numbers and for classes, and the words of its errors."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error
from torch.nn import functional

from trainwell.errors import ShapeError
from trainwell.losses import mean_squares


def test_its_mean_is_scikit_learns_and_torchs() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)
    ours = mean_squares(outputs, targets)
    assert ours.mean().item() == pytest.approx(mean_squared_error(targets.numpy(), outputs.numpy()), abs=1e-12)
    torch.testing.assert_close(
        ours, functional.mse_loss(outputs, targets, reduction="none").mean(1), atol=1e-12, rtol=0
    )


def test_one_number_may_be_written_without_its_axis() -> None:
    outputs, targets = torch.randn(5, 1), torch.randn(5)
    expected = (outputs[:, 0] - targets) ** 2
    torch.testing.assert_close(mean_squares(outputs, targets), expected)
    torch.testing.assert_close(mean_squares(outputs[:, 0], targets), expected)
    torch.testing.assert_close(mean_squares(outputs, targets[:, None]), expected)


def test_class_scores_are_compared_with_one_hot_rows() -> None:
    scores, ids = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 4
    one_hot = np.eye(4)[ids.numpy()]
    np.testing.assert_allclose(mean_squares(scores, ids), ((scores.numpy() - one_hot) ** 2).mean(1), atol=1e-14)


def test_its_gradient_is_twice_the_difference_over_the_outputs() -> None:
    outputs = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(6, 4, dtype=torch.float64)
    mean_squares(outputs, targets).sum().backward()
    torch.testing.assert_close(outputs.grad, 2 * (outputs.detach() - targets) / 4)


def test_targets_that_do_not_fit_are_refused_with_a_cure() -> None:
    with pytest.raises(ShapeError, match=r"targets must be \(N, K\) = \(4, 2\), got \(4,\)"):
        mean_squares(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(ShapeError, match=r"for one output must be floats \(N,\) or \(N, 1\), got torch.int64: convert"):
        mean_squares(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))
