"""Update-to-weight ratios, against closed forms of the optimizer's step."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainwell.core.shelves import probes
from trainwell.core.state import State


def net() -> nn.Sequential:
    """Two layers with a norm, after a backward pass, in float64."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()
    model(torch.randn(16, 4, dtype=torch.float64)).square().mean().backward()
    return model


def look(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], object] | None = None
) -> dict[str, float]:
    """The ratios by place over one step of an optimizer."""
    probe, state = probes.build("update_ratio"), State(model, optimizer)
    assert list(probe.measure(state)) == []
    (step or optimizer.step)()
    return {reading.where: reading.value for reading in probe.measure_update(state)}


def test_plain_sgd_moves_by_lr_times_gradient_over_weight() -> None:
    model = net()
    weights = {place: model[int(place)].weight for place in ("0", "3")}
    expected = {place: 0.3 * float(weight.grad.norm() / weight.detach().norm()) for place, weight in weights.items()}
    assert look(model, torch.optim.SGD(model.parameters(), lr=0.3)) == pytest.approx(expected, rel=1e-6)


def test_weight_decay_alone_moves_by_lr_times_decay() -> None:
    model = net()
    for parameter in model.parameters():
        parameter.grad.zero_()
    found = look(model, torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.01))
    assert found == pytest.approx({"0": 0.005, "3": 0.005}, rel=1e-6)


def test_a_second_step_with_momentum_moves_by_what_the_weights_say() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    weight, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
    expected = 0.1 * 1.9 * float(gradient.norm() / weight.norm())  # the same gradient twice: v = 0.9 g + g
    assert look(model, optimizer)["0"] == pytest.approx(expected, rel=1e-6)


def test_the_first_step_of_adam_moves_every_weight_by_lr() -> None:
    model = net()
    size = float(model[0].weight.detach().norm())
    found = look(model, torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.0))
    assert found["0"] == pytest.approx(1e-3 * 32**0.5 / size, rel=1e-6)


def test_layers_that_are_frozen_or_all_zero_have_no_ratio() -> None:
    model = net()
    model[0].weight.grad = None
    with torch.no_grad():
        model[3].weight.zero_()
    assert look(model, torch.optim.SGD(model.parameters(), lr=0.1)) == {}


def test_a_layer_that_stands_still_has_a_ratio_of_zero() -> None:
    model = net()
    assert look(model, torch.optim.SGD(model.parameters(), lr=0.1), step=lambda: None) == {"0": 0.0, "3": 0.0}


def test_no_copy_of_the_weights_is_kept() -> None:
    probe, model = probes.build("update_ratio"), net()
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1))
    list(probe.measure(state))
    list(probe.measure_update(state))
    assert list(probe.measure_update(state)) == []
