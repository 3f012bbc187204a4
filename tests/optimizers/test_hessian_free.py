"""Hessian-free optimization: exact on quadratics, its damping and searches by the formulas, and within its budget."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.gauss_newton import GaussNewton
from trainwell.optimizers.hessian_free import HessianFree

Closure = Callable[[], tuple[Tensor, Tensor]]


def least_squares(size: int = 12) -> tuple[Tensor, Closure, Tensor]:
    """Fit of a line; the solution."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, size, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, generator=generator, dtype=torch.float64)
    weight = torch.zeros(size, dtype=torch.float64, requires_grad=True)

    def closure() -> tuple[Tensor, Tensor]:
        outputs = inputs @ weight
        return (outputs - targets).square().mean() / 2, outputs

    return weight, closure, torch.linalg.lstsq(inputs, targets[:, None]).solution[:, 0]


def small_net(dropout: float = 0.0) -> tuple[nn.Module, Closure]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)).double()
    inputs, labels = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3

    def closure() -> tuple[Tensor, Tensor]:
        outputs = net(inputs)
        return functional.cross_entropy(outputs, labels), outputs

    return net, closure


def test_a_quadratic_is_solved_in_one_step() -> None:
    weight, closure, solution = least_squares()
    optimizer = HessianFree([weight], damping=1e-14, tolerance=1e-14)
    optimizer.step(closure)
    torch.testing.assert_close(weight.detach(), solution, rtol=1e-9, atol=1e-9)
    assert optimizer.account is not None
    assert optimizer.account.ratio == pytest.approx(1, abs=1e-9)


def test_weight_decay_is_ridge_regression() -> None:
    weight, closure, _ = least_squares()
    HessianFree([weight], damping=1e-14, tolerance=1e-14, weight_decay=0.3).step(closure)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, generator=generator, dtype=torch.float64)
    ridge = torch.linalg.solve(
        inputs.T @ inputs / 40 + 0.3 * torch.eye(12, dtype=torch.float64), inputs.T @ targets / 40
    )
    torch.testing.assert_close(weight.detach(), ridge, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_xor_is_solved_within_forty_steps_of_two_iterations(seed: int) -> None:
    """2-5-1 with sigmoids; published for the same sizes: errors of at most 0.0014."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 5), nn.Sigmoid(), nn.Linear(5, 1), nn.Sigmoid())
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    targets = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    optimizer = HessianFree(net.parameters(), most_iterations=2, damping=1.0)

    def closure() -> tuple[Tensor, Tensor]:
        outputs = net(inputs)
        return (outputs - targets).square().mean() / 2, outputs

    for _ in range(40):
        optimizer.step(closure)
    assert (net(inputs) - targets).abs().max() < 0.005


def by_hand(seed: int, steps: int) -> tuple[list[np.ndarray], list[float]]:
    """The method on logistic regression, in NumPy and scipy, from the formulas; returns weights and damping by step."""
    chance = np.random.default_rng(seed)
    inputs, labels = chance.normal(size=(50, 6)) * np.logspace(0, 1.5, 6), chance.integers(0, 2, 50).astype(float)
    theta, lam, p = np.zeros(6), 0.1, np.zeros(6)

    def f(weights: np.ndarray) -> float:
        scores = inputs @ weights
        return float(np.mean(np.logaddexp(0, scores) - labels * scores))

    path, dampings = [], []
    for _ in range(steps):
        chances = 1 / (1 + np.exp(-inputs @ theta))
        gradient = inputs.T @ (chances - labels) / 50
        matrix = inputs.T * (chances * (1 - chances)) @ inputs / 50 + lam * np.eye(6)
        preconditioner = np.diag(1 / (gradient**2 + lam) ** 0.75)
        iterates = [
            scipy.sparse.linalg.cg(matrix, -gradient, x0=0.95 * p, M=preconditioner, rtol=0, maxiter=count)[0]
            for count in range(1, 6)
        ]
        p = iterates[-1]
        promised = gradient @ p + p @ matrix @ p / 2
        rho = (f(theta + p) - f(theta)) / promised if promised < 0 else 0.0  # after a warm start it may promise nothing
        best = p
        for earlier in reversed(iterates[:-1]):  # of five iterations, all are kept
            if not f(theta + earlier) < f(theta + best):
                break
            best = earlier
        step = 1.0
        while f(theta + step * best) > f(theta) + 0.01 * step * min(gradient @ best, 0.0):
            step *= 0.8
            if gradient @ best >= 0 or step < 0.01:
                step, p = 0.0, 0 * p
        theta = theta + step * best
        lam *= 1.5 if rho < 0.25 else 2 / 3 if rho > 0.75 else 1
        path.append(theta)
        dampings.append(lam)
    return path, dampings


@pytest.mark.parametrize("seed", range(4))
def test_it_goes_the_way_of_the_formulas_in_numpy(seed: int) -> None:
    path, dampings = by_hand(seed, steps=6)
    chance = np.random.default_rng(seed)
    inputs = torch.from_numpy(chance.normal(size=(50, 6)) * np.logspace(0, 1.5, 6))
    labels = torch.from_numpy(chance.integers(0, 2, 50).astype(float))
    weight = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = HessianFree([weight], most_iterations=5, tolerance=1e-15)

    def closure() -> tuple[Tensor, Tensor]:
        outputs = inputs @ weight
        return functional.binary_cross_entropy_with_logits(outputs, labels), outputs

    for theirs, damping in zip(path, dampings, strict=True):
        optimizer.step(closure)
        np.testing.assert_allclose(weight.detach().numpy(), theirs, rtol=1e-6, atol=1e-8)
        assert optimizer.param_groups[0]["damping"] == pytest.approx(damping)


def test_a_step_never_makes_the_loss_of_its_batch_larger() -> None:
    net, closure = small_net()
    optimizer = HessianFree(net.parameters(), damping=1e-6)
    losses = [float(optimizer.step(closure)) for _ in range(25)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1 * losses[0]


def test_where_no_step_helps_weights_stay_and_damping_grows() -> None:
    """The loss jumps up at every other place than the first one asked about."""
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    start = weight.detach().clone()

    def closure() -> tuple[Tensor, Tensor]:
        outputs = weight * 2
        return outputs.square().sum() + (0 if torch.equal(weight, start) else 100), outputs

    optimizer = HessianFree([weight], damping=1.0)
    optimizer.step(closure)
    assert torch.equal(weight.detach(), start)
    assert optimizer.param_groups[0]["damping"] == 1.5
    assert optimizer.account is not None
    assert optimizer.account.step == 0


def test_the_masks_of_dropout_are_the_same_in_all_evaluations_and_draws_go_on_as_after_one() -> None:
    net, closure = small_net(dropout=0.5)
    seen: list[Tensor] = []
    net[2].register_forward_hook(lambda module, given, out: seen.append(out == 0))
    torch.manual_seed(5)
    net(torch.zeros(30, 4, dtype=torch.float64))
    expected = torch.rand(1)
    seen.clear()
    torch.manual_seed(5)
    HessianFree(net.parameters()).step(closure)
    assert len(seen) >= 3
    assert all(torch.equal(mask, seen[0]) for mask in seen)
    assert torch.equal(torch.rand(1), expected)


def test_a_step_keeps_to_its_budget_of_gradients_and_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gradient, a product an iteration, and one product more where conjugate gradients begin elsewhere than at 0.

    That one is the first: from a start x the first residual is b - A x, and from 0 it is b. The first step has no last
    solution to begin at.
    """
    net, closure = small_net()
    graphs: list[bool] = []

    def counted() -> tuple[Tensor, Tensor]:
        graphs.append(torch.is_grad_enabled())
        return closure()

    multiply, multiplied = GaussNewton.__call__, []

    def counted_product(self: GaussNewton, vector: Tensor) -> Tensor:
        multiplied.append(vector)
        return multiply(self, vector)

    monkeypatch.setattr(GaussNewton, "__call__", counted_product)
    optimizer = HessianFree(net.parameters())
    for step in range(8):
        graphs.clear()
        multiplied.clear()
        optimizer.step(counted)
        account = optimizer.account
        assert account is not None
        assert graphs.count(True) == 1
        assert account.products == len(multiplied) == account.iterations + (step > 0)
        assert account.evaluations == len(graphs)
        assert account.evaluations <= 3 + math.ceil(math.log(max(account.iterations, 2), 1.3))


def test_a_group_keeps_its_rate_and_its_damping() -> None:
    weight, closure, _ = least_squares()
    net, net_closure = small_net()
    still = copy.deepcopy(net[0].weight)
    groups = [{"params": [*net[0].parameters()], "lr": 0.5}, {"params": [*net[3].parameters()], "damping": 5.0}]
    optimizer = HessianFree(groups)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step(net_closure)
    assert torch.equal(net[0].weight, still)
    assert optimizer.param_groups[1]["damping"] == pytest.approx(50 * optimizer.param_groups[0]["damping"])
    slow = HessianFree([weight], lr=0.25, damping=1e-14, tolerance=1e-14)
    solution = least_squares()[2]
    slow.step(closure)
    torch.testing.assert_close(weight.detach(), solution / 4, rtol=1e-9, atol=1e-9)
    optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["tolerance"] = 1.0, 0.1
    with pytest.raises(OptionInvalid, match="hessian_free:tolerance must be the same in all groups"):
        optimizer.step(net_closure)


def test_a_restored_state_goes_on_to_the_same_bits() -> None:
    (net, closure), (twin, twin_closure) = small_net(), small_net()
    optimizer, first = HessianFree(net.parameters()), HessianFree(twin.parameters())
    for _ in range(8):
        optimizer.step(closure)
    for _ in range(5):
        first.step(twin_closure)
    second = HessianFree(twin.parameters())
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.step(twin_closure)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), twin.parameters(), strict=True))


def test_parameters_that_the_loss_does_not_know_keep_every_bit() -> None:
    weight, closure, _ = least_squares()
    other = torch.ones(3, dtype=torch.float64, requires_grad=True)
    frozen = torch.ones(3, dtype=torch.float64)
    optimizer = HessianFree([weight, other, frozen])
    optimizer.step(closure)
    assert torch.equal(other.detach(), torch.ones(3, dtype=torch.float64))
    assert other not in optimizer.state


def bad(kind: str) -> Any:
    weight = torch.ones(2, requires_grad=True)
    optimizer = HessianFree([("head.weight", weight)])
    closures: dict[str, Any] = {
        "missing": None,
        "loss alone": lambda: weight.square().sum(),
        "detached": lambda: (weight.square().sum().detach(), weight * 1),
        "nan": lambda: ((weight * torch.tensor([1.0, float("nan")])).square().sum(), weight * 1),
        "flat": lambda: ((weight * 1).sum(), weight * 1),
    }
    return optimizer.step(closures[kind])


def test_what_it_cannot_use_is_refused_in_words() -> None:
    with pytest.raises(OptionInvalid, match="needs the loss at several weights in a step, got no closure"):
        bad("missing")
    with pytest.raises(OptionInvalid, match=r"must return \(loss, outputs\), got a tensor alone: write step"):
        bad("loss alone")
    with pytest.raises(OptionInvalid, match=r"both with their graph, got a loss of shape \(\) without graph"):
        bad("detached")
    with pytest.raises(NonFinite, match="the gradient of head.weight holds NaN or Inf, and no weight was changed"):
        bad("nan")
    with pytest.raises(OptionInvalid, match="loss must be made from the outputs"):
        bad("flat")
    with pytest.raises(OptionInvalid, match="HessianFree:maximize must be false"):
        HessianFree([{"params": [torch.ones(1, requires_grad=True)], "maximize": True}])
    with pytest.raises(OptionInvalid, match="must be of one type on one device.*torch.float32 on cpu, torch.float64"):
        HessianFree([torch.ones(1, requires_grad=True), torch.ones(1, dtype=torch.float64, requires_grad=True)])


def test_an_error_inside_the_search_leaves_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    net, closure = small_net()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    calls = []

    def failing() -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        HessianFree(net.parameters()).step(failing)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), before, strict=True))


def test_a_group_of_another_type_is_refused_later_too_and_not_kept() -> None:
    optimizer = HessianFree([torch.ones(1, requires_grad=True)])
    with pytest.raises(OptionInvalid, match="must be of one type on one device.*torch.float32 on cpu, torch.float64"):
        optimizer.add_param_group({"params": [torch.ones(1, dtype=torch.float64, requires_grad=True)]})
    assert len(optimizer.param_groups) == 1
