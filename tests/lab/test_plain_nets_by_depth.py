"""Plain nets by depth: the forward scale against a rewrite and its expectation, the judge against broken rows."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.plain_nets_by_depth import (
    BLOCK,
    CHANNELS,
    CLIP,
    DEEPEST,
    FORWARD,
    HIGHEST,
    SIDE,
    TRAINED,
    _shorten,
    build,
    forward_scale,
    judge,
    steps_of,
    steps_to,
)


@pytest.mark.parametrize("layers", [14, 22, 30])
def test_a_net_has_so_many_layers_with_weights_and_the_source_s_variances(layers: int) -> None:
    """A variance of n Gaussian weights spreads by sqrt(2 / n); six deviations fail less than once in a million."""
    torch.manual_seed(0)
    for scale, square in (("He", 2.0), ("Xavier", 1.0)):
        found = [part for part in build(layers, scale) if isinstance(part, (nn.Conv2d, nn.Linear))]
        assert len(found) == layers
        for part in found:
            weight = part.weight.detach()
            assert float(weight.square().mean()) * weight[0].numel() == pytest.approx(
                square, rel=6 * (2 / weight.numel()) ** 0.5
            )


def test_a_layer_behind_the_first_reads_its_whole_fan_in_everywhere() -> None:
    network = build(3, "He")
    with torch.no_grad():
        network[2].weight.fill_(1.0)
        sums = network[2](torch.ones(1, CHANNELS, SIDE, SIDE))
    assert sums.unique().tolist() == [9.0 * CHANNELS]


def test_scores_are_those_of_a_rewrite_that_wraps_by_rolling() -> None:
    torch.manual_seed(1)
    network, images = build(4, "He").double(), torch.randn(3, 1, 8, 8, dtype=torch.float64)
    x = images
    for number in (0, 2, 4):
        weight = network[number].weight
        rolled = [x.roll((1 - row, 1 - column), (2, 3)) for row in range(3) for column in range(3)]
        x = torch.einsum("tnchw,oct->nohw", torch.stack(rolled), weight.flatten(2)).clamp(min=0)
        x = x[:, :, ::2, ::2] if number == 0 else x
    torch.testing.assert_close(network(images), functional.linear(x.flatten(1), network[7].weight))


@pytest.mark.parametrize(("scale", "factor"), [("He", 1.0), ("Xavier", 0.5)])
def test_each_layer_multiplies_the_second_moment_by_its_expectation(scale: str, factor: float) -> None:
    """The factors are independent over networks and uncorrelated over layers; six standard errors."""
    torch.manual_seed(7)
    found = forward_scale(scale, draws=3)
    factors = np.array(found["factor"])
    assert abs(factors.mean() - factor) <= 6 * factors.std(ddof=1) / DEEPEST**0.5
    assert found["second moment"][0] == pytest.approx(factors[0])


def test_gradients_are_shortened_and_keep_their_direction() -> None:
    network = nn.Linear(3, 1)
    network.weight.grad, network.bias.grad = torch.tensor([[30.0, 0.0, 40.0]]), torch.tensor([0.0])
    _shorten(network)
    torch.testing.assert_close(network.weight.grad, CLIP * torch.tensor([[0.6, 0.0, 0.8]]), rtol=1e-5, atol=0)


def test_steps_are_counted_to_the_end_of_the_first_block_below() -> None:
    assert steps_to([3.0, 1.0, 2.0], 1.5) == 2 * BLOCK
    assert steps_to([3.0, 3.0], 1.5) == 3 * BLOCK
    assert all(steps_of(s, is_quick=quick) % BLOCK == 0 for s in TRAINED.values() for quick in (True, False))


def test_the_judge_sees_what_is_broken() -> None:
    learned = {"last loss": 0.3, "error": 0.05, "training error": 0.02, "steps to learn": 50.0}
    rows: dict[str, list[dict[str, Any]]] = {arm: [learned] * 3 for arm in TRAINED}
    rows["14 layers, He"] = [learned | {"error": 0.03, "training error": 0.01}] * 3
    rows["22 layers, Xavier"] = [learned | {"steps to learn": 400.0}] * 3
    rows["30 layers, Xavier"] = [learned | {"last loss": HIGHEST}] * 3
    for arm, factor in zip(FORWARD, (1.0, 0.5), strict=True):
        near = factor + 0.01 * np.tile([-1.0, 1.0], DEEPEST // 2)
        rows[arm] = [{"factor": near.tolist(), "second moment": (factor ** np.arange(DEEPEST)).tolist()}] * 3
    assert all(check.holds for check in judge(Table(rows)))
    for arm, row in (
        ("30 layers, Xavier", learned),
        ("22 layers, Xavier", learned | {"steps to learn": 50.0}),
        ("22 layers, He", learned | {"last loss": HIGHEST}),
        ("14 layers, He", learned | {"training error": 0.01}),
        ("forward, He", {"factor": [0.9, 0.95] * (DEEPEST // 2), "second moment": [1.0] * DEEPEST}),
    ):
        assert sum(not check.holds for check in judge(Table({**rows, arm: [row] * 3}))) == 1, arm
    assert set(experiments.build("plain_nets_by_depth").arms) == set(rows)
