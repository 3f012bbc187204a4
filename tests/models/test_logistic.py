"""Logistic regression: the convex problem, compared with scikit-learn's solution of it."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from trainwell.errors import ShapeError
from trainwell.models.logistic import Logistic


def test_the_first_loss_is_ln_k_exactly() -> None:
    loss = functional.cross_entropy(Logistic(12, 10)(torch.randn(50, 3, 2, 2)), torch.arange(50) % 10)
    assert loss.item() == pytest.approx(math.log(10), abs=1e-6)


def test_it_reaches_the_solution_that_scikit_learn_finds() -> None:
    digits = load_digits(n_class=3)
    x, y = digits.data[:150] / 16, digits.target[:150]
    known = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(x, y)
    net = Logistic(64, 3).double()
    inputs, labels = torch.tensor(x), torch.tensor(y)
    solver = torch.optim.LBFGS(net.parameters(), max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def penalized() -> torch.Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(net(inputs), labels, reduction="sum") + net.fc.weight.square().sum() / 2
        loss.backward()
        return loss

    solver.step(penalized)
    np.testing.assert_allclose(net(inputs).softmax(1).detach().numpy(), known.predict_proba(x), atol=1e-4)


def test_inputs_of_another_size_are_refused_with_a_cure() -> None:
    with pytest.raises(
        ShapeError, match=r"logistic was built for 4 numbers a sample, got 5 in \(2, 5\): .*in_features=5"
    ):
        Logistic(4, 2)(torch.zeros(2, 5))
