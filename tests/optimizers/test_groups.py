"""Decay groups: every parameter in exactly one, with its reason."""

import pytest
import torch
from torch import nn

from trainwell.core.rates import RatesSection
from trainwell.errors import ModelInvalid
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
    net[0].weight.requires_grad_(False)  # type: ignore[index]
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
        "5.weight": "slope of an activation",
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


def test_the_places_are_those_of_the_model_and_survive_a_state_dict() -> None:
    net = network()
    names = [name for name, _ in net.named_parameters()]
    optimizer, other = (sgd(parameter_groups(net, 0.1, rates=RatesSection(per_depth=0.5))) for _ in range(2))
    other.load_state_dict(optimizer.state_dict())
    for group in other.param_groups:
        assert [names[place] for place in group["places"]] == group["param_names"]
    assert sorted(place for group in other.param_groups for place in group["places"]) == list(range(len(names)))


def test_it_is_said_in_words_which_parameter_is_where_and_why() -> None:
    lines = describe(parameter_groups(network(), 0.1)).splitlines()
    assert lines[0] == "weight decay 0.1: 0.weight (4-d weight)"
    assert "weight decay 0.0: 1.weight (parameter of a norm)" in lines
    assert len(lines) == 9


class Hurried(nn.Module):
    """Two layers of which one bias and one weight ask for rates of their own."""

    def __init__(self, factors: dict[str, object] | None = None) -> None:
        super().__init__()
        self.slow, self.fast = nn.Linear(2, 2), nn.Linear(2, 2)
        self.lr_factors = {"fast.bias": 64.0, "slow.weight": 0.5} if factors is None else factors


def test_parameters_with_a_rate_of_their_own_stand_in_groups_of_their_own_behind_the_common_rate() -> None:
    groups = parameter_groups(Hurried(), 0.1)
    assert [(group["param_names"], group.get("lr_factor"), group["weight_decay"]) for group in groups] == [
        (["fast.weight"], None, 0.1),
        (["slow.weight"], 0.5, 0.1),
        (["slow.bias"], None, 0.0),
        (["fast.bias"], 64.0, 0.0),
    ]


def test_factors_are_found_in_modules_within_and_the_outermost_counts() -> None:
    net = nn.Sequential(Hurried(), nn.Linear(2, 2))
    assert {group.get("lr_factor") for group in parameter_groups(net)} == {None, 0.5, 64.0}
    net.lr_factors = {"0.fast.bias": 2.0}  # type: ignore[assignment]
    by_name = {name: group.get("lr_factor") for group in parameter_groups(net) for name in group["param_names"]}
    assert (by_name["0.fast.bias"], by_name["0.slow.weight"], by_name["1.weight"]) == (2.0, 0.5, None)


def test_a_factor_of_one_makes_no_group() -> None:
    assert len(parameter_groups(Hurried({"fast.bias": 1}))) == 2


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"fast.bais": 2.0}, "Hurried.lr_factors has 'fast.bais': 2.0; it must map names of its parameters"),
        ({"fast.bais": 2.0}, "did you mean 'fast.bias'"),
        ({"fast.bias": 0}, "'fast.bias': 0; it must map names of its parameters to factors above 0"),
        ({"fast.bias": float("inf")}, "'fast.bias': inf"),
        ({"fast.bias": "quick"}, "'fast.bias': 'quick'"),
    ],
)
def test_factors_that_mean_nothing_are_refused(factors: dict[str, object], words: str) -> None:
    with pytest.raises(ModelInvalid) as caught:
        parameter_groups(Hurried(factors))
    assert words in str(caught.value)


def test_the_factor_is_said() -> None:
    lines = describe(parameter_groups(Hurried(), 0.1)).splitlines()
    assert lines[1] == "weight decay 0.1, rate x 0.5: slow.weight (2-d weight)"
    assert lines[3] == "weight decay 0.0, rate x 64: fast.bias (bias)"
