"""AdaGrad, Adam and AdamW: against rewrites of the papers, torch and scikit-learn, and their first steps."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from problems import PROBLEMS, Move, Problem, path, rewritten
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from trainwell.errors import OptionInvalid
from trainwell.optimizers.adaptive import adagrad, adam, adamw

on_all = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
Build = Callable[..., torch.optim.Optimizer]


def duchi(lr: float, delta: float) -> Move:
    total: list[np.ndarray] = []

    def move(t: int, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        total.append(g**2)
        return x - lr * g / (delta + np.sqrt(np.sum(total, axis=0)))

    return move


def kingma_ba(*, lr: float, beta1: float, beta2: float, eps: float, coupled: float, decoupled: float = 0.0) -> Move:
    m = v = np.zeros(())

    def move(t: int, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal m, v
        g = g + coupled * x
        x = x - lr * decoupled * x
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        return x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)

    return move


@on_all
def test_adagrad_equals_the_rule_of_figure_1_and_torch(problem: Problem) -> None:
    ours = path(problem, lambda x: adagrad(x, lr=0.3, eps=1e-3))
    np.testing.assert_allclose(ours, rewritten(problem, duchi(0.3, 1e-3)), rtol=1e-9)
    np.testing.assert_allclose(ours, path(problem, lambda x: torch.optim.Adagrad(x, lr=0.3, eps=1e-3)), rtol=1e-9)


def test_adagrad_starts_its_sum_at_zero_and_keeps_eps_outside_the_root() -> None:
    """optax and Keras start at 0.1 and add 1e-7 inside: their first step by a gradient of 0.1 is 0.3 lr, not lr."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.full_like(weight, 0.1)
    adagrad([weight], lr=0.5, eps=0.1).step()
    assert weight.item() == pytest.approx(-0.5 * 0.1 / (0.1 + 0.1), rel=1e-12)


@on_all
def test_adam_equals_algorithm_1_also_where_eps_matters(problem: Problem) -> None:
    options = {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}
    ours = path(problem, lambda x: adam(x, **options, weight_decay=0.1))
    np.testing.assert_allclose(ours, rewritten(problem, kingma_ba(**options, coupled=0.1)), rtol=1e-8, atol=1e-12)


@on_all
def test_adamw_equals_algorithm_2_also_where_eps_matters(problem: Problem) -> None:
    options = {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}
    ours = path(problem, lambda x: adamw(x, **options, weight_decay=0.1))
    rewrite = kingma_ba(**options, coupled=0.0, decoupled=0.1)
    np.testing.assert_allclose(ours, rewritten(problem, rewrite), rtol=1e-8, atol=1e-12)


@on_all
def test_adam_is_scikit_learns_once_eps_is_that_of_its_form(problem: Problem) -> None:
    """scikit-learn, and Keras, have the form of section 2, whose eps is ours times sqrt(1 - beta2^t)."""
    x = problem.start.clone().requires_grad_()
    ours = adam([x], lr=0.05, eps=1.0)
    theirs = problem.start.numpy().copy()
    peer = AdamOptimizer([theirs], learning_rate_init=0.05, epsilon=1e-3)
    for t in range(1, 201):
        ours.param_groups[0]["eps"] = 1e-3 / np.sqrt(1 - 0.999**t)
        ours.zero_grad()
        problem.loss(x).backward()
        ours.step()
        peer.update_params([theirs], [problem.gradient(theirs)])
        np.testing.assert_allclose(x.detach().numpy(), theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("build", [adagrad, adam, adamw])
def test_the_first_step_is_lr_against_the_sign_of_the_gradient(build: Build) -> None:
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor([1e-4, -7.0, 1e5], dtype=torch.float64)
    build([weight], lr=0.25, weight_decay=0.0).step()
    np.testing.assert_allclose(weight.detach().numpy(), [-0.25, 0.25, -0.25], rtol=1e-3)


def test_decay_is_decoupled_from_the_gradient_in_adamw_and_one_with_it_in_adam() -> None:
    """With gradient 0, adamw takes off lr * weight_decay; adam sees the gradient 0.5 and goes lr."""
    for build, expected in ((adamw, 1 - 0.1 * 0.5), (adam, 1 - 0.1)):
        weight = torch.ones(1, requires_grad=True)
        weight.grad = torch.zeros(1)
        build([weight], lr=0.1, weight_decay=0.5).step()
        assert weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("build", [adam, adamw])
def test_betas_of_a_group_act_in_either_word(build: Build) -> None:
    problem = PROBLEMS[3]
    expected = path(problem, lambda x: build(x, lr=0.02, beta1=0.5, beta2=0.9), 20)
    for own in ({"beta1": 0.5, "beta2": 0.9}, {"betas": (0.5, 0.9)}, {"betas": [0.5, 0.9]}):
        grouped = path(problem, lambda x, own=own: build([{"params": x, **own}], lr=0.02), 20)
        np.testing.assert_array_equal(grouped, expected)
    half = path(problem, lambda x: build([{"params": x, "beta1": 0.5}], lr=0.02, beta2=0.9), 20)
    np.testing.assert_array_equal(half, expected)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"betas": (0.5, 0.9), "beta1": 0.5}, "a group says betas and beta1: say one of them"),
        ({"beta1": 1.0}, r"beta1 must be a number >= 0 and < 1, got 1.0"),
        ({"betas": (0.9, 1.5)}, r"beta2 must be a number >= 0 and < 1, got 1.5"),
        ({"betas": 0.9}, "betas of a group must be 2 numbers, got 0.9"),
    ],
)
def test_betas_of_a_group_that_make_no_sense_are_refused(own: dict[str, object], words: str) -> None:
    with pytest.raises(OptionInvalid, match=words):
        adam([{"params": [torch.ones(1, requires_grad=True)], **own}])


def test_a_group_that_joins_adagrad_later_begins_at_zero() -> None:
    first, later = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = adagrad([first], lr=0.5)
    first.grad = torch.ones(1)
    optimizer.step()
    optimizer.add_param_group({"params": [later]})
    first.grad, later.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert later.item() == pytest.approx(-0.5)
    assert first.item() == pytest.approx(-0.5 - 0.5 / np.sqrt(2))


def test_the_fused_kernel_equals_torchs_plain_loop() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((3, 4), (5,), (2, 3, 3, 3))]
    twins = [weight.detach().clone().requires_grad_() for weight in weights]
    ours, plain = adamw(weights, weight_decay=0.1), torch.optim.AdamW(twins, lr=1e-3, weight_decay=0.1, foreach=False)
    assert all(group["fused"] for group in ours.param_groups)
    for _ in range(10):
        for weight, twin in zip(weights, twins, strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.clone()
        ours.step()
        plain.step()
    for weight, twin in zip(weights, twins, strict=True):
        torch.testing.assert_close(weight, twin, rtol=1e-5, atol=1e-6)
