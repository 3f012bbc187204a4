"""Stochastic depth: survival falls linearly, draws are torch's, and evaluation takes every branch by its chance."""

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid
from trainwell.layers.hidden import Hidden
from trainwell.layers.stochastic_depth import StochasticDepth, linear_survival
from trainwell.models.residual import UnitForm

from .rewrites import images

RESIDUAL = [card for card in models if "survival" in card.options and "preset_of" not in card.traits]


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, options, in_channels=3, num_classes=10).double()


def chances(net: nn.Module) -> list[StochasticDepth]:
    return [module for module in net.modules() if isinstance(module, StochasticDepth)]


@pytest.mark.parametrize("units", [1, 3, 54, 110])
def test_the_expected_depth_is_three_quarters_of_the_units(units: int) -> None:
    assert sum(map(Fraction, linear_survival(units, 0.5))) == pytest.approx(Fraction(3 * units - 1, 4))
    assert linear_survival(units, 0.5)[-1] == 0.5


def test_networks_hand_the_chances_to_their_units_in_order() -> None:
    for card in RESIDUAL:
        options = {**card.traits.get("small", {}), "survival": 0.5}
        net = card.build(options, in_channels=3, num_classes=10)
        count = sum(net.layout.units)
        assert [chance.survival for chance in chances(net)] == list(linear_survival(count, 0.5)), card.name
        assert not chances(card.build(card.traits.get("small", {}), in_channels=3, num_classes=10))


def test_in_training_as_many_units_are_there_as_their_chances_say() -> None:
    """54 units of CIFAR-110 and the published chances: 40.25 of them on average, deviation sqrt(sum p (1 - p))."""
    net = build("cifar_resnet", depth=110, survival=0.5, width=1).float().train()
    there = 0
    torch.manual_seed(1)
    for _ in range(200):
        there += sum(not chance.leaves_out() for chance in chances(net))
    deviation = sum(p * (1 - p) for p in linear_survival(54, 0.5)) ** 0.5
    assert abs(there / 200 - (3 * 54 - 1) / 4) < 4 * deviation / 200**0.5


def test_a_unit_that_is_left_out_passes_its_input_through_and_is_not_computed() -> None:
    net = build("cifar_resnet", depth=8, survival=0.5).train()
    unit, maps = net.layer1[0], images(4, 16, 6, 6).relu()
    unit.chance.survival = 1e-12
    before = unit.bn1.running_mean.clone()
    assert torch.equal(unit(maps), maps)
    assert torch.equal(unit.bn1.running_mean, before)
    unit.chance.survival = 1.0
    expected = (maps + unit.bn2(unit.conv2(unit.bn1(unit.conv1(maps)).relu()))).relu()
    torch.testing.assert_close(unit(maps), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("drop", ["batch", "sample"])
@pytest.mark.parametrize("name", ["cifar_resnet", "preact"])
@torch.no_grad()
def test_in_evaluation_the_branch_counts_as_often_as_it_survived(name: str, drop: str) -> None:
    net = build(name, depth=8, survival=0.25, drop=drop).eval()
    certain = build(name, depth=8).eval()
    certain.load_state_dict(net.state_dict())
    maps = images(2, 16, 6, 6).relu()
    unit, full = net.layer1[0], certain.layer1[0]
    if name == "preact":
        skip = full.pre1(maps)
        expected = skip + 0.75 * (full(maps) - skip)
    else:
        expected = (maps + 0.75 * full.bn2(full.conv2(full.act1(full.bn1(full.conv1(maps)))))).relu()
    torch.testing.assert_close(unit(maps), expected, rtol=1e-12, atol=1e-12)


def test_of_each_sample_on_its_own_the_branch_is_there_or_not() -> None:
    chance, branch = StochasticDepth(0.7, "sample").train(), torch.ones(4000, 2, 3, 3)
    torch.manual_seed(2)
    kept = chance(branch)
    whole = kept.flatten(1)
    assert torch.equal(whole.amin(1), whole.amax(1))
    assert abs(whole[:, 0].mean().item() - 0.7) < 4 * (0.21 / 4000) ** 0.5
    assert not chance.leaves_out()


def test_draws_repeat_with_torchs_seed_and_evaluation_draws_nothing() -> None:
    net, batch = build("cifar_resnet", depth=20, survival=0.3), images(4, 3, 8, 8)

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return net(batch)

    assert torch.equal(run(1), run(1))
    assert any(not torch.equal(run(1), run(seed)) for seed in (2, 3, 4))
    net.eval()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(net(batch), net(batch))
    assert torch.equal(torch.get_rng_state(), state)


def test_units_that_are_there_get_gradients_and_the_others_none() -> None:
    net = build("cifar_resnet", depth=20, survival=0.3).train()
    torch.manual_seed(3)
    net(images(4, 3, 8, 8)).square().sum().backward()
    units = [unit for stage in net.stages for unit in stage]
    is_there = [unit.conv1.weight.grad is not None for unit in units]
    assert 0 < sum(is_there) < len(units)
    assert all((unit.conv2.weight.grad is not None) is there for unit, there in zip(units, is_there, strict=True))
    assert net.conv1.weight.grad.any()


def test_a_chance_outside_its_range_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="survival must be a share above 0 up to 1, got 0: it is what stays"):
        StochasticDepth(0)
    with pytest.raises(OptionInvalid, match="drop must be 'batch' or 'sample', got 'layer'"):
        StochasticDepth(0.5, "layer")  # type: ignore[arg-type]
    with pytest.raises(OptionInvalid, match=r"cifar_resnet:survival must be a number > 0.* and <= 1"):
        models.build("cifar_resnet", {"survival": 0.0}, in_channels=3, num_classes=10)


def test_units_that_always_survive_have_no_chance_at_all() -> None:
    assert UnitForm(Hidden("relu", "batch")).chance(1.0) is None
