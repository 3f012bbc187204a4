"""Pre-activation networks: between any two units the signal is the sum of the branches, forwards and backwards."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid

from . import rewrites
from .rewrites import images, lived_in


def build(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return lived_in(models.build("preact", options, in_channels=3, num_classes=10))


def test_between_any_two_units_stands_the_sum_of_all_branches() -> None:
    net, batch = build(depth=26), images(2, 3, 16, 16)
    seen: list[torch.Tensor] = []
    for unit in net.layer2:
        unit.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        net(batch)
    _, sums = rewrites.preact(net.state_dict(), batch)
    of_stage = sums[4:8]
    branches = [after - before for before, after in pairwise(of_stage)]
    for a in range(4):
        for b in range(a, 4):
            expected = seen[a] + sum(branches[a:b], torch.zeros_like(seen[a]))
            torch.testing.assert_close(seen[b], expected, rtol=1e-10, atol=1e-10)


def test_a_gradient_reaches_an_early_unit_whole_beside_what_goes_through_branches() -> None:
    """dE/dx_a = dE/dx_b (1 + d sum f / dx_a): with branches of zero it arrives as it left."""
    net = build(depth=26)
    for unit in net.layer2[1:]:
        nn.init.zeros_(unit.conv2.weight)
    maps = images(2, 32, 8, 8).requires_grad_()
    coming = images(2, 32, 8, 8)
    (given,) = torch.autograd.grad(net.layer2[1:](maps), maps, coming)
    assert torch.equal(given, coming)


def test_the_first_unit_and_every_change_of_shape_share_their_first_activation() -> None:
    net = build(depth=14)
    assert [[unit.is_shared for unit in stage] for stage in net.stages] == [[True, False]] * 3
    padded = build(depth=14, shortcut="A")
    assert [[unit.is_shared for unit in stage] for stage in padded.stages] == [[True, False], [False] * 2, [False] * 2]


def test_behind_a_large_stem_the_first_unit_begins_with_its_convolution() -> None:
    """As in the authors' program: norm and activation of the stem stand before its maximum, and are no unit's."""
    for stem, has_own in (("large", False), ("small", True)):
        net = models.build("preact_resnet", {"width": 4, "stem": stem}, in_channels=3, num_classes=10)
        weights = net.state_dict()
        assert ("layer1.0.pre1.bn.weight" in weights) is has_own
        assert ("first.bn.weight" in weights) is not has_own
        assert "layer1.1.pre1.bn.weight" in weights


def test_two_hundred_layers_have_two_hundred_kernels() -> None:
    with torch.device("meta"):
        net = models["preact_resnet200"].build({}, in_channels=3, num_classes=10)
    kernels = [name for name, p in net.named_parameters() if p.ndim > 1 and "downsample" not in name]
    assert len(kernels) == 200
    assert net.layout.units == (3, 24, 36, 3)


def test_an_activation_in_front_of_a_layer_leaves_the_skip_as_it_is() -> None:
    for options in ({"norm": "none"}, {"norm_order": "after"}, {}):
        unit, maps = build(depth=14, **options).layer1[1], images(2, 16, 6, 6)
        before = maps.clone()
        unit(maps)
        assert torch.equal(maps, before)


def test_depths_are_those_of_three_stages() -> None:
    with pytest.raises(OptionInvalid, match=r"preact:depth must be 9n \+ 2 .* got 111: take 110 or 119"):
        models.build("preact", {"depth": 111, "unit": "bottleneck"}, in_channels=3, num_classes=10)
    with pytest.raises(OptionInvalid, match=r"wide_resnet:depth must be 6n \+ 4 .* got 26: take 22 or 28"):
        models.build("wide_resnet", {"depth": 26}, in_channels=3, num_classes=10)
