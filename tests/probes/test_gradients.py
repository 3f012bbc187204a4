"""Norms of gradients, against sums of squares in float64."""

import pytest
import torch
from torch import nn

from trainwell.core.shelves import probes
from trainwell.core.state import State
from trainwell.probes.gradients import pooled_norms
from trainwell.probes.places import by_layer, layer_of


def look(model: nn.Module) -> dict[str, float]:
    """The norms by place."""
    state = State(model, torch.optim.SGD(model.parameters(), lr=0.1))
    return {reading.where: reading.value for reading in probes.build("gradient_norm").measure(state)}


def test_norms_are_those_of_all_gradients_and_of_each_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model(torch.randn(16, 4)).square().sum().backward()
    found = look(model)
    assert list(found) == ["", "0", "1", "3"]
    for place in ("0", "1", "3"):
        squares = [p.grad.double().square().sum() for p in model[int(place)].parameters()]
        assert found[place] == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-6)
    assert found[""] ** 2 == pytest.approx(sum(found[place] ** 2 for place in ("0", "1", "3")), rel=1e-6)


def test_frozen_and_unused_layers_have_none() -> None:
    model = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2))
    model[1](model[0](torch.ones(2, 4))).sum().backward()
    assert list(look(model)) == ["", "1"]
    assert look(nn.Linear(2, 2)) == {}


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model(torch.ones(1, 3)).sum().backward()
    found = look(model)
    assert list(found) == ["", "0"]
    assert found[""] == found["0"]


def test_a_compiled_network_has_the_places_of_the_one_inside() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    assert list(by_layer(torch.compile(model, backend="eager"))) == ["0"]


def test_sparse_and_small_gradients_keep_their_norm() -> None:
    embedding = nn.Embedding(5, 3, sparse=True)
    embedding(torch.tensor([1, 1])).sum().backward()
    assert look(embedding)["(root)"] == pytest.approx(2 * 3**0.5)
    tiny = torch.full((4,), 1e-18, dtype=torch.bfloat16)
    assert pooled_norms([[tiny]]) == [pytest.approx(2e-18, rel=1e-2)]


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("a.b.weight", "a.b"),
        ("a.bias", "a"),
        ("scale", "(root)"),
        ("a.parametrizations.weight.original", "a"),
        ("parametrizations.weight.original1", "(root)"),
    ],
)
def test_a_parameter_belongs_to_the_module_that_owns_it(parameter: str, layer: str) -> None:
    assert layer_of(parameter) == layer
