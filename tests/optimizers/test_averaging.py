"""The moving average of weights: against a plain rewrite, torch's AveragedModel, and its stated policies."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainwell.errors import OptionInvalid, RunDamaged
from trainwell.optimizers.averaging import EMA


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).double()


@torch.no_grad()
def disturb(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter += torch.randn_like(parameter)


def test_it_equals_a_rewrite_in_float64_with_the_ramp() -> None:
    net = network()
    ema = EMA(net, decay=0.7)
    expected = {name: value.numpy().copy() for name, value in net.state_dict().items() if value.is_floating_point()}
    for t in range(30):
        disturb(net)
        net(torch.randn(4, 1, 4, 4, dtype=torch.float64))  # moves the running statistics
        ema.update()
        decay = min(0.7, (1 + t) / (10 + t))
        for name, average in expected.items():
            expected[name] = decay * average + (1 - decay) * net.state_dict()[name].numpy()
    for name, average in expected.items():
        np.testing.assert_allclose(ema.model.state_dict()[name].numpy(), average, rtol=1e-10, atol=1e-12)


def test_after_the_ramp_it_is_torchs_averaged_model() -> None:
    net = network()
    ema = EMA(net, decay=0.9)
    ema.updates = 1000  # (1 + t) / (10 + t) > 0.9 from here on
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(net)  # its first update copies
    for _ in range(10):
        disturb(net)
        ema.update()
        theirs.update_parameters(net)
    for ours, other in zip(ema.model.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(ours, other)


def test_constant_weights_are_their_own_average() -> None:
    net = network()
    ema = EMA(net, decay=0.99)
    for _ in range(5):
        ema.update()
    for ours, weight in zip(ema.model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, weight)


def test_the_network_in_training_is_never_touched_and_never_shared() -> None:
    net = network()
    ema = EMA(net)
    before = copy.deepcopy(net.state_dict())
    ema.update()
    ema.model(torch.randn(2, 1, 4, 4, dtype=torch.float64))
    assert net.training
    assert not ema.model.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    pointers = {value.data_ptr() for value in net.state_dict().values()}
    assert pointers.isdisjoint(value.data_ptr() for value in ema.model.state_dict().values())
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


def test_a_restored_average_goes_on_to_the_same_bits() -> None:
    net = network()
    ema = EMA(net, decay=0.9)
    for _ in range(3):
        disturb(net)
        ema.update()
    restored = EMA(net, decay=0.9)
    restored.load_state_dict(ema.state_dict())
    for _ in range(3):
        disturb(net)
        ema.update()
        restored.update()
    assert all(torch.equal(value, ema.state_dict()[name]) for name, value in restored.state_dict().items())


def test_the_stored_average_is_a_copy() -> None:
    net = network()
    ema = EMA(net)
    stored = ema.state_dict()
    before = {name: value.clone() for name, value in stored.items()}
    disturb(net)
    ema.update()
    assert all(torch.equal(stored[name], before[name]) for name in stored)


def test_weights_of_low_precision_are_averaged_in_float32() -> None:
    """A bfloat16 average would swallow any change below 1 / 256 of itself, and so stand still."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(net.weight)
    ema = EMA(net, decay=0.999)
    ema.updates = 100_000
    nn.init.constant_(net.weight, 1.5)
    ema.update()
    assert ema.model.weight.item() == pytest.approx(1.0005, rel=1e-6)


def test_statistics_that_a_module_replaces_are_still_followed() -> None:
    net = nn.BatchNorm1d(1)
    ema = EMA(net, decay=0.0)
    net.running_mean = torch.tensor([7.0])
    ema.update()
    assert ema.model.running_mean.item() == 7.0


def test_channels_last_weights_are_averaged_in_place_of_their_own() -> None:
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    ema = EMA(net, decay=0.0)
    disturb(net)
    ema.update()
    assert ema.model.weight.stride() == net.weight.stride()
    assert torch.equal(ema.model.weight, net.weight)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(OptionInvalid, match=r"EMA:decay must be a number >= 0 and < 1, got .*usual are 0.99 to 0.9999"):
        EMA(nn.Linear(1, 1), decay=decay)


def test_an_average_of_another_network_is_refused_and_nothing_is_changed() -> None:
    ema, other = EMA(nn.Linear(2, 2)), EMA(nn.Linear(3, 2))
    before = ema.state_dict()
    with pytest.raises(RunDamaged, match=r"does not belong to this network: check model\.weight"):
        ema.load_state_dict(other.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in ema.state_dict().items())
