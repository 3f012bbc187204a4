"""A linear layer along a path of penalties, beside scikit-learn and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from trainwell.errors import DataInvalid
from trainwell.models.linear_path import linear_path


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Losses (N,)."""
    return nn.functional.cross_entropy(scores, targets, reduction="none")


def half_squares(scores: Tensor, targets: Tensor) -> Tensor:
    """Losses (N,)."""
    return (scores - targets).square().sum(1) / 2


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Some digits; a few of their pixels never change."""
    x, y = load_digits(return_X_y=True)
    return x[:300], y[:300]


def scaled(x: np.ndarray) -> np.ndarray:
    """Features of mean 0 and deviation 1."""
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 0, spread, 1)


@pytest.mark.parametrize("strength", [1.0, 0.01, 0.001])
@pytest.mark.parametrize("count", [300, 40], ids=["more samples than features", "fewer samples than features"])
def test_it_is_scikit_learns_logistic_regression(
    digits: tuple[np.ndarray, np.ndarray], strength: float, count: int
) -> None:
    x, y = digits[0][:count], digits[1][:count]
    (point,) = linear_path(torch.from_numpy(x), torch.from_numpy(y), cross_entropy, 10, strengths=[strength])
    theirs = LogisticRegression(C=1 / (strength * count), tol=1e-12, max_iter=100_000).fit(scaled(x), y)
    ours = point.scores(torch.from_numpy(x)).softmax(1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled(x)), atol=2e-4)


def test_with_squares_it_is_ridge_regression(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    targets = np.stack([y, y**2], 1).astype(float)
    (point,) = linear_path(torch.from_numpy(x), torch.from_numpy(targets), half_squares, 2, strengths=[0.1])
    theirs = Ridge(alpha=0.1 * len(x)).fit(scaled(x), targets)
    np.testing.assert_allclose(point.scores(torch.from_numpy(x)).numpy(), theirs.predict(scaled(x)), atol=1e-3)


def test_a_warm_start_ends_where_a_cold_one_does(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (torch.from_numpy(part) for part in digits)
    *_, warm = linear_path(x, y, cross_entropy, 10, strengths=[1.0, 0.1, 0.01])
    (cold,) = linear_path(x, y, cross_entropy, 10, strengths=[0.01])
    assert torch.allclose(warm.scores(x).softmax(1), cold.scores(x).softmax(1), atol=1e-4)


def test_the_train_loss_falls_along_the_path(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (torch.from_numpy(part) for part in digits)
    losses = [point.loss for point in linear_path(x, y, cross_entropy, 10)]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert losses[0] < np.log(10)


def test_a_sample_that_counts_twice_is_two_samples(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """The scaling of features sees each sample once, so the twins lie on features of fixed scale."""
    x, y = (torch.from_numpy(part) for part in digits)
    weight = torch.ones(len(x))
    weight[:50] = 2
    (weighted,) = linear_path(x, y, cross_entropy, 10, strengths=[0.05], weight=weight)
    gradient_rows = torch.cat([x, x[:50]])
    targets = torch.cat([y, y[:50]])
    spread = x.double().std(0, unbiased=False)
    table = (weighted.weight * spread).requires_grad_()
    bias = (weighted.bias + weighted.weight @ x.double().mean(0)).requires_grad_()
    inner = (gradient_rows - x.double().mean(0)) / torch.where(spread > 0, spread, torch.inf)
    whole = cross_entropy(inner @ table.T + bias, targets).mean() + 0.05 / 2 * table.square().sum()
    slopes = torch.autograd.grad(whole, (table, bias))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-4


def test_nan_features_are_refused() -> None:
    codes = torch.zeros(3, 2)
    codes[1, 0] = torch.nan
    with pytest.raises(DataInvalid, match="sample 1"):
        next(linear_path(codes, torch.tensor([0, 1, 0]), cross_entropy, 2))
    with pytest.raises(DataInvalid, match="N > 0"):
        next(linear_path(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), cross_entropy, 2))
