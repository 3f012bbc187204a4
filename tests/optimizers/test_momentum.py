"""Momentum in its forms: against scikit-learn's and torch's, plain rewrites, and closed answers on a bowl."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer
from torch import Tensor

from trainwell.errors import OptionInvalid
from trainwell.optimizers.momentum import Momentum, MomentumAverage, gradient_descent, nesterov

Gradient = Callable[[np.ndarray], np.ndarray]
STEPS = 200
ROTATION = np.array([[0.8, -0.6], [0.6, 0.8]])


def bowl(x: np.ndarray) -> np.ndarray:
    """The gradient of an ill-conditioned bowl along the axes."""
    return np.array([0.1, 10.0]) * (x - 1)


def ravine(x: np.ndarray) -> np.ndarray:
    """That of a bowl across them."""
    result: np.ndarray = ROTATION @ np.diag([0.2, 8.0]) @ ROTATION.T @ x
    return result


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return np.array([-2 * (1 - x[0]) - 40 * x[0] * (x[1] - x[0] ** 2), 20 * (x[1] - x[0] ** 2)]) / 40


def waves(x: np.ndarray) -> np.ndarray:
    return x + 0.5 * np.cos(3 * x)


problems = pytest.mark.parametrize("gradient", [bowl, ravine, rosenbrock, waves], ids=lambda g: g.__name__)
START = np.array([-0.7, 0.4])


def path(build: Callable[[list[Tensor]], torch.optim.Optimizer], gradient: Gradient, rates: np.ndarray) -> np.ndarray:
    weight = torch.tensor(START, requires_grad=True)
    optimizer = build([weight])
    for lr in rates:
        weight.grad = torch.tensor(gradient(weight.detach().numpy()))
        optimizer.param_groups[0]["lr"] = float(lr)
        optimizer.step()
    result: np.ndarray = weight.detach().numpy()
    return result


def rates(*, falling: bool) -> np.ndarray:
    return np.linspace(0.1, 0.01, STEPS) if falling else np.full(STEPS, 0.05)


@problems
@pytest.mark.parametrize("is_falling", [False, True])
def test_momentum_equals_scikit_learns_also_while_the_rate_falls(gradient: Gradient, is_falling: bool) -> None:
    theirs = START.copy()
    oracle = SGDOptimizer([theirs], momentum=0.9, nesterov=False)
    for lr in rates(falling=is_falling):
        oracle.learning_rate = lr
        oracle.update_params([theirs], [gradient(theirs)])
    ours = path(lambda params: Momentum(params, momentum=0.9), gradient, rates(falling=is_falling))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@problems
def test_momentum_equals_torchs_form_only_while_the_rate_is_constant(gradient: Gradient) -> None:
    ours, theirs = (lambda params: Momentum(params, momentum=0.8)), (lambda p: torch.optim.SGD(p, momentum=0.8))
    np.testing.assert_allclose(
        *(path(build, gradient, rates(falling=False)) for build in (ours, theirs)), rtol=1e-9, atol=1e-12
    )
    falling = rates(falling=True)[:20]
    assert not np.allclose(*(path(build, gradient, falling) for build in (ours, theirs)), rtol=1e-4)


@problems
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_the_moving_average_equals_a_rewrite(gradient: Gradient, weight_decay: float) -> None:
    theta, m = START.copy(), np.zeros(2)
    for t, lr in enumerate(rates(falling=True), start=1):
        m = 0.9 * m + 0.1 * (gradient(theta) + weight_decay * theta)
        theta = theta - lr * m / (1 - 0.9**t)
    ours = path(
        lambda params: MomentumAverage(params, beta=0.9, weight_decay=weight_decay), gradient, rates(falling=True)
    )
    np.testing.assert_allclose(ours, theta, rtol=1e-9, atol=1e-12)


@problems
def test_nesterov_walks_sutskevers_look_ahead_points(gradient: Gradient) -> None:
    mu, lr = 0.9, 0.05
    theta, v = START.copy(), np.zeros(2)
    for _ in range(STEPS):
        v = mu * v - lr * gradient(theta + mu * v)
        theta = theta + v
    ours = path(lambda params: nesterov(params, momentum=mu), gradient, rates(falling=False))
    np.testing.assert_allclose(ours, theta + mu * v, rtol=1e-9, atol=1e-12)


@problems
def test_gradient_descent_equals_its_formula_with_decay(gradient: Gradient) -> None:
    theta = START.copy()
    for lr in rates(falling=True):
        theta = theta - lr * (gradient(theta) + 0.1 * theta)
    ours = path(lambda params: gradient_descent(params, weight_decay=0.1), gradient, rates(falling=True))
    np.testing.assert_allclose(ours, theta, rtol=1e-9, atol=1e-12)


def test_the_best_heavy_ball_on_a_bowl_of_condition_100_contracts_by_the_root_of_its_momentum() -> None:
    """mu* = ((sqrt(kappa) - 1) / (sqrt(kappa) + 1))^2 = 0.669421, lr* = (2 / (sqrt(L) + sqrt(l)))^2 (Polyak 1964)."""
    mu, lr = 0.669421, (2 / (math.sqrt(100) + math.sqrt(1))) ** 2
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer, curvature = Momentum([weight], lr=lr, momentum=mu), torch.tensor([1.0, 100.0], dtype=torch.float64)
    norms = []
    for _ in range(100):
        weight.grad = curvature * weight.detach()
        optimizer.step()
        norms.append(weight.detach().norm().item())
    assert (norms[99] / norms[49]) ** (1 / 50) == pytest.approx(math.sqrt(mu), abs=0.02)


def test_a_constant_gradient_leads_to_the_terminal_velocity() -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = Momentum([weight], lr=0.01, momentum=0.95)
    for _ in range(1000):
        weight.grad = torch.full_like(weight, 2.0)
        optimizer.step()
    assert optimizer.state[weight]["velocity"].item() == pytest.approx(-0.01 / (1 - 0.95) * 2.0)


def test_a_groups_own_values_act() -> None:
    first, second = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = Momentum([{"params": [first], "momentum": 0.0}, {"params": [second], "lr": 0.2}], lr=0.1, momentum=0.5)
    for _ in range(2):
        first.grad = second.grad = torch.ones(1)
        optimizer.step()
    assert (first.item(), second.item()) == pytest.approx((-0.2, -0.5))


def test_nesterov_without_a_velocity_is_refused_also_in_a_group() -> None:
    weight = torch.zeros(1, requires_grad=True)
    for params, momentum in (([weight], 0.0), ([{"params": [weight], "momentum": 0.0}], 0.9)):
        with pytest.raises(OptionInvalid, match="nesterov:nesterov looks ahead along the velocity"):
            nesterov(params, momentum=momentum)
