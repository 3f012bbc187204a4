"""The gradient's sign: against a rewrite, and what it does with mini-batches."""

import numpy as np
import pytest
import torch
from problems import PROBLEMS, Problem, path, rewritten

from trainwell.optimizers.sign import GradientSign


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_it_equals_a_rewrite(problem: Problem) -> None:
    expected = rewritten(problem, lambda t, x, g: x - 0.013 * np.sign(g))
    np.testing.assert_allclose(path(problem, lambda x: GradientSign(x, lr=0.013)), expected, rtol=1e-12, atol=1e-14)


def test_nine_small_batches_outvote_a_large_one_that_cancels_them() -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = GradientSign([weight], lr=0.01)
    for gradient in [0.1] * 9 + [-0.9]:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    assert weight.item() == pytest.approx(-0.08)


def test_a_zero_gradient_moves_nothing_and_nothing_is_remembered() -> None:
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.tensor([2.0, 0.0, -2.0])
    optimizer = GradientSign([weight], lr=0.5)
    optimizer.step()
    assert weight.tolist() == [0.5, 1.0, 1.5]
    assert not any(optimizer.state_dict()["state"].values())
