"""Smoothness along the gradient, against quadratic bowls, two-layer chains and torch's own steps."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import OptionInvalid
from trainwell.lab.smoothness import along_gradient, internal_covariate_shift

RATES = [0.05, 0.1, 0.4]


class Point(nn.Module):
    """A place in weight space."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def bowl() -> tuple[Point, Tensor, Callable[[], Tensor]]:
    point, half = Point(1.0, -2.0, 0.5), torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 0.0, 1.0]])
    curvature = (half.T @ half).double()
    return point, curvature, lambda: point.at @ curvature @ point.at / 2


def normed() -> tuple[nn.Sequential, Callable[[], Tensor]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3))
    inputs, labels = torch.randn(16, 5), torch.arange(16) % 3
    return network, lambda: nn.functional.cross_entropy(network(inputs), labels)


def test_on_a_quadratic_all_three_are_those_of_the_closed_form() -> None:
    point, curvature, loss = bowl()
    gradient = curvature @ point.at.detach()
    length, bent = float(gradient.norm()), float((curvature @ gradient).norm())
    found = along_gradient(point, loss, RATES)
    assert found.loss == pytest.approx(loss().item(), rel=1e-12)
    assert found.gradient_norm == pytest.approx(length, rel=1e-12)
    steep, curved = length**2, float(gradient @ curvature @ gradient)
    expected = [found.loss - rate * steep + rate**2 * curved / 2 for rate in RATES]
    assert found.losses == pytest.approx(expected, rel=1e-10)
    assert found.loss_variation == pytest.approx(max(expected) - min(expected), rel=1e-10)
    assert found.changes == pytest.approx([rate * bent for rate in RATES], rel=1e-10)
    assert found.gradient_predictiveness == pytest.approx((0.4 - 0.05) * bent, rel=1e-10)
    assert found.smoothness == pytest.approx(bent / length, rel=1e-10)


def test_a_step_of_it_is_a_step_of_torch_on_the_same_mini_batch_in_training_mode() -> None:
    network, loss = normed()
    network[3] = nn.Identity()
    found = along_gradient(network, loss, [0.3])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    loss().backward()
    optimizer.step()
    assert found.losses[0] == pytest.approx(loss().item(), rel=1e-6)


def test_it_leaves_weights_buffers_gradients_and_random_states_as_they_were() -> None:
    network, loss = normed()
    loss().backward()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    state = torch.get_rng_state()
    along_gradient(network, loss, RATES)
    internal_covariate_shift(network, loss, [list(network[0].parameters()), list(network[4].parameters())], 0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    now = [weight.grad for weight in network.parameters()]
    assert all(one is not None and torch.equal(one, other) for one, other in zip(now, gradients, strict=True))


def test_dropout_draws_the_same_in_each_look_so_a_tiny_step_changes_almost_nothing() -> None:
    network, loss = normed()
    found = along_gradient(network, loss, [1e-6])
    assert found.losses[0] == pytest.approx(found.loss, abs=1e-4)


def test_what_fails_midway_still_gives_the_weights_back() -> None:
    point, _, loss = bowl()
    calls = 0

    def failing() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("midway")
        return loss()

    before = point.at.detach().clone()
    with pytest.raises(RuntimeError, match="midway"):
        along_gradient(point, failing, RATES)
    assert torch.equal(point.at, before)


def test_where_the_gradient_is_zero_nothing_bends() -> None:
    point = Point(0.0)
    assert along_gradient(point, lambda: point.at.square().sum(), RATES).smoothness == 0


def test_evaluation_mode_and_rates_that_are_none_are_refused() -> None:
    point, _, loss = bowl()
    with pytest.raises(OptionInvalid, match="rates must be positive"):
        along_gradient(point, loss, [0.0])
    point.eval()
    with pytest.raises(OptionInvalid, match="evaluation mode"):
        along_gradient(point, loss, RATES)


def test_the_covariate_shift_of_a_chain_of_two_weights_is_that_of_the_closed_form() -> None:
    first, second, inputs, target, rate = 0.7, -1.3, 2.0, 0.4, 0.1
    point, behind = Point(first), Point(second)
    network = nn.ModuleList([point, behind])
    miss = second * first * inputs - target
    stepped = first - rate * miss * second * inputs
    before, after = miss * first * inputs, (second * stepped * inputs - target) * stepped * inputs

    def loss() -> Tensor:
        return (behind.at * point.at * inputs - target).square().sum() / 2

    still, moved = internal_covariate_shift(network, loss, [[point.at], [behind.at]], rate)
    assert still.distance == 0
    assert still.cosine == pytest.approx(1, abs=1e-12)
    assert moved.distance == pytest.approx(abs(before - after), rel=1e-12)
    assert moved.share == pytest.approx(abs(before - after) / abs(before), rel=1e-12)
    assert moved.cosine == pytest.approx(math.copysign(1, before * after), rel=1e-12)


def test_the_shift_of_each_layer_sees_the_steps_of_the_layers_in_front_of_it_alone() -> None:
    network, loss = normed()
    network[3] = nn.Identity()
    layers = [[*network[0].parameters(), *network[1].parameters()], list(network[4].parameters())]
    shifts = internal_covariate_shift(network, loss, layers, 0.2)
    loss().backward()
    before = [weight.grad.clone() for weight in layers[1] if weight.grad is not None]
    torch.optim.SGD(layers[0], lr=0.2).step()
    network.zero_grad()
    loss().backward()
    gone = [one - weight.grad for one, weight in zip(before, layers[1], strict=True) if weight.grad is not None]
    assert shifts[1].distance == pytest.approx(math.sqrt(sum(float(one.square().sum()) for one in gone)), rel=1e-5)
