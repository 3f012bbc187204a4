"""Residual starts: branches that begin at 0, Fixup's scales, its exact first loss, and steps alike at any depth."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import ModelInvalid
from trainwell.initialization import FixupUnit, fixup_, zero_gamma_
from trainwell.optimizers.groups import parameter_groups


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Bottleneck(nn.Module):
    """Three layers with or without norms, named as torchvision names them."""

    def __init__(self, channels: int, *, has_norms: bool, stride: int = 1) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if has_norms else nn.Identity
        self.conv1, self.bn1 = nn.Conv2d(channels, 4, 1), norm(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, stride, padding=1), norm(4)
        self.conv3, self.bn3 = nn.Conv2d(4, channels, 1), norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, channels, 1, stride), norm(channels)) if stride > 1 else None
        )

    def forward(self, inputs: Tensor) -> Tensor:
        branch = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(inputs))))))
        skip = inputs if self.downsample is None else self.downsample(inputs)
        return self.relu(self.bn3(self.conv3(branch)) + skip)


def residual(*, has_norms: bool, units: int = 3) -> nn.Sequential:
    blocks = [Bottleneck(8, has_norms=has_norms, stride=2 if place == 1 else 1) for place in range(units)]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


# zero-gamma


@pytest.mark.parametrize("is_training", [True, False])
def test_every_branch_of_zero_gamma_begins_at_nothing(is_training: bool) -> None:
    net = residual(has_norms=True).train(is_training)
    report = zero_gamma_(net)
    assert report.changed == ("1.bn3", "2.bn3", "3.bn3")
    inputs = torch.randn(4, 8, 6, 6, generator=seeded()).relu()
    with torch.no_grad():
        assert torch.equal(net[1](inputs), inputs)
        expected = net[2].downsample(inputs).relu()
        torch.testing.assert_close(net[2](inputs), expected)
    assert all(bool((unit.bn1.weight == 1).all()) for unit in (net[1], net[2], net[3]))


def test_zero_gamma_says_which_branches_it_cannot_set() -> None:
    net = residual(has_norms=True)
    net[2].bn3.weight.requires_grad_(False)
    net[3].bn3 = nn.BatchNorm2d(8, affine=False)
    assert zero_gamma_(net).notes == ("no norm with a scale that trains in the branches 2.bn3, 3.bn3",)


def test_zero_gamma_is_refused_without_units_and_without_norms() -> None:
    with pytest.raises(ModelInvalid, match="zero_gamma is for residual networks, and Sequential has no residual unit"):
        zero_gamma_(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ModelInvalid, match="no residual branch of Sequential ends in a norm with a scale that trains"):
        zero_gamma_(residual(has_norms=False))


# Fixup


def fixup_net(units: int, *, width: int = 16) -> nn.Sequential:
    stem = nn.Conv2d(3, width, 3, padding=1)
    blocks = [FixupUnit(width, width) for _ in range(units)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@pytest.mark.parametrize("units", [1, 8])
def test_the_first_loss_of_fixup_is_ln_k_exactly(units: int) -> None:
    net = fixup_net(units).double()
    report = fixup_(net, generator=seeded())
    scores = net(torch.randn(5, 3, 8, 8, generator=seeded(), dtype=torch.float64))
    assert bool((scores == 0).all())
    loss = functional.cross_entropy(scores, torch.arange(5))
    assert float(loss.detach()) == pytest.approx(math.log(10), abs=1e-15)
    assert not report.notes


@pytest.mark.parametrize("net", [residual(has_norms=False), fixup_net(3, width=8)], ids=["bottleneck", "fixup unit"])
def test_every_branch_of_fixup_begins_at_nothing(net: nn.Sequential) -> None:
    fixup_(net, generator=seeded())
    inputs = torch.randn(4, 8, 6, 6, generator=seeded()).relu()
    with torch.no_grad():
        assert torch.equal(net[1](inputs), inputs)


@pytest.mark.parametrize(("is_bottleneck", "exponent"), [(False, -1 / 2), (True, -1 / 4)])
def test_branch_weights_are_he_s_times_a_power_of_the_number_of_branches(is_bottleneck: bool, exponent: float) -> None:
    """Two layers a branch: L^(-1/2), three: L^(-1/4); the variance of all draws within 5.5 standard errors."""
    units = 16
    net = nn.Sequential(nn.Conv2d(3, 8, 3), *(Bottleneck(8, has_norms=False) for _ in range(units)), nn.Flatten())
    if not is_bottleneck:
        net = fixup_net(units)
    fixup_(net, generator=seeded())
    drawn = torch.cat([unit.conv1.weight.detach().flatten() for unit in list(net)[1 : units + 1]]).double()
    fan_out = 4 if is_bottleneck else 16 * 9
    expected = 2 / fan_out * units ** (2 * exponent)
    assert abs(float(drawn.square().mean()) / expected - 1) < 5.5 * math.sqrt(2 / len(drawn))
    last = [(unit.conv3 if is_bottleneck else unit.conv2).weight for unit in list(net)[1 : units + 1]]
    assert all(bool((weight == 0).all()) for weight in last)


def test_a_step_changes_the_scores_alike_at_any_depth() -> None:
    """Three steps of SGD (the first moves only what is 0) on nets of 4 and of 64 units: within a factor of 3."""
    moved = []
    for units in (4, 64):
        net = fixup_net(units)
        fixup_(net, generator=seeded())
        inputs, labels = torch.randn(16, 3, 8, 8, generator=seeded(1)), torch.arange(16) % 10
        optimizer = torch.optim.SGD(parameter_groups(net, 0.0), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        moved.append(float(net(inputs).detach().norm()))
    assert max(moved) / min(moved) < 3


def test_units_without_scalars_are_said() -> None:
    net = residual(has_norms=False)
    report = fixup_(net, generator=seeded())
    assert report.notes == (
        "3 of 3 units have no scalar biases and multiplier, which Fixup trains with: build them of"
        " trainwell.initialization.FixupUnit",
    )
    words = {entry.name: entry.words for entry in report.entries}
    assert words["8" if "8" in words else "6"] == "0: the last layer, so that the first loss is ln K"
    assert words["0"] == words["2.downsample.0"] == "He normal (fan_out)"


def test_scalars_of_trained_units_begin_anew() -> None:
    unit = FixupUnit(4, 4)
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.fill_(0.3)
    fixup_(nn.Sequential(unit))
    assert [float(p.detach()) for p in (unit.bias1a, unit.bias1b, unit.bias2a, unit.bias2b)] == [0.0] * 4
    assert float(unit.multiplier.detach()) == 1.0


def test_the_unit_is_the_published_one() -> None:
    """y = relu(m conv2(relu(conv1(x + b1a) + b1b) + b2a) + b2b + [pool(x + b1a), 0])."""
    unit = FixupUnit(2, 5, stride=2).double()
    with torch.no_grad():
        for place, parameter in enumerate(unit.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(place)))
    x = torch.randn(3, 2, 6, 6, generator=seeded(9), dtype=torch.float64)
    inner = functional.relu(functional.conv2d(x + unit.bias1a, unit.conv1.weight, stride=2, padding=1) + unit.bias1b)
    branch = functional.conv2d(inner + unit.bias2a, unit.conv2.weight, padding=1) * unit.multiplier + unit.bias2b
    skip = torch.cat([(x + unit.bias1a)[:, :, ::2, ::2], torch.zeros(3, 3, 3, 3, dtype=torch.float64)], 1)
    torch.testing.assert_close(unit(x), functional.relu(branch + skip), rtol=1e-12, atol=1e-12)


def test_norms_frozen_layers_and_impossible_units_are_refused_in_words() -> None:
    with pytest.raises(ModelInvalid, match="fixup is for residual units without norms, and 1 has 1.bn1, 1.bn2, 1.bn3"):
        fixup_(residual(has_norms=True))
    with pytest.raises(ModelInvalid, match="fixup is for residual networks, and Linear has no residual unit"):
        fixup_(nn.Linear(2, 2))
    net = residual(has_norms=False)
    net[1].conv3.weight.requires_grad_(False)
    with pytest.raises(ModelInvalid, match="fixup needs the last layer of each branch, and 1.conv3 cannot be set"):
        fixup_(net)
    with pytest.raises(ModelInvalid, match="FixupUnit needs out_channels >= in_channels"):
        FixupUnit(4, 2)
