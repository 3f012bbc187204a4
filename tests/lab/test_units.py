"""Surgery on networks: against plain rewrites of what is left, and the network afterwards bit for bit as before."""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.lab.plain_loop import few_digits
from trainwell.lab.units import (
    end_of_branch,
    layers_of,
    one_way,
    reordered,
    same_shape,
    train,
    trained,
    units_of,
    without,
)

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("cifar_resnet", {"depth": 14, "width": 4, "shortcut": "A"}),
    ("cifar_resnet", {"depth": 20, "width": 4, "unit": "bottleneck", "norm_order": "after"}),
    ("cifar_resnet", {"depth": 8, "width": 4, "norm": "none", "activation": "gelu"}),
    ("preact", {"depth": 14, "shortcut": "A"}),
]


def build(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = models.build(name, options, in_channels=3, num_classes=5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.double().eval()


def images(count: int = 3, side: int = 8) -> Tensor:
    return torch.randn(count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=NETWORKS, ids=lambda each: f"{each[0]}-{each[1]['depth']}")
def network(request: pytest.FixtureRequest) -> nn.Module:
    return build(*request.param)


@torch.no_grad()
def test_a_unit_without_its_branch_gives_what_a_silent_branch_gives(network: nn.Module) -> None:
    """The last layer's weights and shift zero is the same, said in another way."""
    for number, unit in enumerate(units_of(network)):
        with without([unit]):
            found = network(images())
        kept = {name: value.clone() for name, value in end_of_branch(unit).state_dict().items()}
        end = end_of_branch(unit)
        if isinstance(end, nn.Identity):
            end = unit.last[0]
            kept = {name: value.clone() for name, value in end.state_dict().items()}
        for parameter in end.parameters():
            parameter.zero_()
        torch.testing.assert_close(found, network(images()), rtol=0, atol=1e-12, msg=f"unit {number}")
        end.load_state_dict(kept)


def cuts(network: nn.Module) -> list[Callable[[], AbstractContextManager[None]]]:
    units = units_of(network)
    return [
        lambda: without(units),
        lambda: one_way(units[1:], {0, 1}),
        lambda: reordered(network, {1: [0, *range(len(network.stages[1]) - 1, 0, -1)]}),  # type: ignore[index, arg-type]
    ]


def test_a_network_is_afterwards_what_it_was_even_where_something_failed(network: nn.Module) -> None:
    before, state = network(images()), {name: value.clone() for name, value in network.state_dict().items()}
    modules = [name for name, _ in network.named_modules()]
    for cut in cuts(network):
        with cut():
            network(images())
        with pytest.raises(RuntimeError, match="on purpose"), cut():
            raise RuntimeError("on purpose")
        assert torch.equal(network(images()), before)
    assert [name for name, _ in network.named_modules()] == modules
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@torch.no_grad()
def test_reordered_units_work_in_their_new_order() -> None:
    network = build("preact", {"depth": 26})
    first, *others = list(network.stages[1])  # type: ignore[index, arg-type]
    maps = images().new_ones(2, 16, 8, 8)
    expected = others[0](others[2](others[1](first(maps))))
    with reordered(network, {1: [0, 2, 3, 1]}):
        assert torch.equal(network.stages[1](maps), expected)  # type: ignore[index, operator]


def gradient(network: nn.Module) -> Tensor:
    given = images().requires_grad_()
    (found,) = torch.autograd.grad(functional.cross_entropy(network(given), torch.tensor([0, 1, 2])), given)
    return found


@pytest.mark.parametrize(
    "options", [{"norm": "batch"}, {"norm": "none", "activation": "gelu"}, {"norm_order": "after"}]
)
def test_the_paths_of_a_network_share_its_gradient_out(options: dict[str, Any]) -> None:
    network = build("cifar_resnet", {"depth": 8, "width": 4, "shortcut": "A", **options})
    units, full, scores = units_of(network), gradient(network), network(images())
    total = torch.zeros_like(full)
    for taken in itertools.product((False, True), repeat=len(units)):
        with one_way(units, {number for number, is_taken in enumerate(taken) if is_taken}):
            assert torch.equal(network(images()), scores), "the pass forward is the same"
            total += gradient(network)
    torch.testing.assert_close(total, full, rtol=1e-10, atol=1e-14)


def test_the_shortest_path_is_the_gradient_of_a_network_without_branches() -> None:
    """Where no activation decides: a linear network, whose branches are taken out or not looked at on the way back."""
    network = build("cifar_resnet", {"depth": 8, "width": 4, "shortcut": "A", "norm": "none", "activation": "identity"})
    units, weights = units_of(network), torch.randn(3, 5, dtype=torch.float64)

    def linear() -> Tensor:
        given = images().requires_grad_()
        (found,) = torch.autograd.grad((network(given) * weights).sum(), given)
        return found

    with one_way(units, ()):
        along_the_skips = linear()
    with without(units):
        torch.testing.assert_close(along_the_skips, linear(), rtol=1e-12, atol=1e-15)


@torch.no_grad()
def test_a_plain_net_without_a_layer_is_the_others_one_behind_the_other() -> None:
    network = build("plain", {"depth": 11, "width": 4})
    found = layers_of(network)
    rest = [layer for stage in network.stages for layer in stage]  # type: ignore[union-attr, attr-defined]
    assert len(found) == 11 - 2 - 2  # all but stem, head, and the two that subsample
    for layer in found:
        maps = network.stem(images())  # type: ignore[operator]
        for other in rest:
            maps = maps if other is layer else other(maps)
        with without([layer]):
            torch.testing.assert_close(network.maps(images()), maps)  # type: ignore[operator]


def test_units_that_change_the_shape_are_told_apart() -> None:
    network = build("cifar_resnet", {"depth": 20, "shortcut": "A"})
    assert [same_shape(unit) for unit in units_of(network)] == [True] * 3 + [False, True, True] * 2


def test_training_learns_and_is_the_same_again() -> None:
    samples = few_digits(0, count=200, held_out=100)
    _, losses = trained(("cifar_resnet", {"depth": 8, "width": 4}), samples, steps=40, rate=0.1, batch_size=50, seed=0)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    again, same = trained(
        ("cifar_resnet", {"depth": 8, "width": 4}), samples, steps=40, rate=0.1, batch_size=50, seed=0
    )
    assert same == losses
    weights = [parameter.clone() for parameter in again.parameters()]
    train(again, samples, steps=3, rate=0.0, batch_size=50, seed=0)
    assert all(torch.equal(one, other) for one, other in zip(weights, again.parameters(), strict=True))
