"""Decay groups: every parameter in exactly one, with its reason."""

import torch
from torch import nn

from trainwell.optimizers.groups import describe, parameter_groups
from trainwell.optimizers.sgd import sgd


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm((4, 5, 5)), nn.Flatten(), nn.Linear(100, 10), nn.PReLU()
    )


def test_only_kernels_and_matrices_decay() -> None:
    decayed, exempt = parameter_groups(network(), 0.1)
    assert decayed["param_names"] == ["0.weight", "4.weight"]
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)


def test_every_parameter_is_there_once_with_its_reason_frozen_ones_too() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    groups = parameter_groups(net, 0.1)
    names = [name for group in groups for name in group["param_names"]]
    assert sorted(names) == sorted(dict(net.named_parameters()))
    reasons = {name: reason for group in groups for name, reason in group["reasons"].items()}
    assert reasons == {
        "0.weight": "4-d weight",
        "0.bias": "bias",
        "1.weight": "parameter of a norm",
        "1.bias": "parameter of a norm",
        "2.weight": "parameter of a norm",  # three dimensions, and a norm's scale all the same
        "2.bias": "parameter of a norm",
        "4.weight": "2-d weight",
        "4.bias": "bias",
        "5.weight": "vector or scalar",
    }


def test_a_tied_weight_is_there_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    net[1].weight = net[0].weight
    (group,) = parameter_groups(net, 0.1)
    assert len(group["params"]) == 1


def test_without_a_number_the_optimizers_own_decay_holds_for_the_first_group_only() -> None:
    optimizer = sgd(parameter_groups(nn.Linear(2, 2)), weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_a_bias_is_not_pulled_to_zero_by_decay() -> None:
    net = nn.Linear(2, 2)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = sgd(parameter_groups(net, 0.5), lr=0.1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(net.bias, before[1])
    assert not torch.equal(net.weight, before[0])


def test_the_groups_survive_a_state_dict() -> None:
    net = network()
    optimizer, other = (sgd(parameter_groups(net, 0.1)) for _ in range(2))
    other.load_state_dict(optimizer.state_dict())
    assert [group["param_names"] for group in other.param_groups] == [g["param_names"] for g in optimizer.param_groups]


def test_it_is_said_in_words_which_parameter_is_where_and_why() -> None:
    lines = describe(parameter_groups(network(), 0.1)).splitlines()
    assert lines[0] == "weight decay 0.1: 0.weight (4-d weight)"
    assert "weight decay 0.0: 1.weight (parameter of a norm)" in lines
    assert len(lines) == 9
