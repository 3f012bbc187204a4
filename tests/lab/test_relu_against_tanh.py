"""ReLU against tanh: initial scales, and steps to a level on samples that a single step or none suffices for."""

import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.relu_against_tanh import (
    ACTIVATIONS,
    CONVOLUTIONAL,
    DENSE,
    EVERY,
    build,
    judge,
    steps_to_level,
)
from trainwell.lab.plain_loop import Samples, few_digits


@pytest.mark.parametrize("network", [CONVOLUTIONAL, DENSE])
@pytest.mark.parametrize(("name", "square"), [("ReLU", 2.0), ("tanh", 1.0)])
def test_the_initial_scale_is_that_of_the_activation(network: str, name: str, square: float) -> None:
    """A variance of n Gaussian weights spreads by sqrt(2 / n); five deviations fail once in a million."""
    torch.manual_seed(0)
    layers = [layer for layer in build(network, name) if isinstance(layer, (nn.Linear, nn.Conv2d))]
    assert len(layers) == (4 if network == CONVOLUTIONAL else 5)
    for layer in layers[:-1]:
        fan_in, count = layer.weight[0].numel(), layer.weight.numel()
        assert float(layer.weight.detach().var() * fan_in) == pytest.approx(square, rel=5 * (2 / count) ** 0.5)


def test_one_class_is_learned_at_once_and_random_labels_are_not() -> None:
    inputs = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    same = torch.zeros(256, dtype=torch.int64)
    random = torch.randint(10, (256,), generator=torch.Generator().manual_seed(1))
    easy, hard = (Samples(inputs, labels, inputs[:1], labels[:1]) for labels in (same, random))
    assert steps_to_level(DENSE, "tanh", easy, rate=0.3, seed=0, most=20) <= 2 * EVERY[DENSE]
    assert steps_to_level(DENSE, "tanh", hard, rate=0.01, seed=0, most=20) is None


def test_a_rate_that_explodes_reaches_nothing() -> None:
    assert steps_to_level(DENSE, "ReLU", few_digits(0), rate=1e6, seed=0, most=40) is None


def test_a_factor_that_is_not_there_is_judged_so() -> None:
    cells = {
        f"{network}, {name}": [{"steps": 100.0 if name == "ReLU" else 600.0, "best rate": 0.1, "reached": 1.0}]
        for network in (CONVOLUTIONAL, DENSE)
        for name in ACTIVATIONS
    }
    assert all(check.holds for check in judge(Table(cells)))
    cells[f"{DENSE}, tanh"][0]["steps"] = 200.0
    cells[f"{CONVOLUTIONAL}, ReLU"][0]["reached"] = 0.0
    assert sum(not check.holds for check in judge(Table(cells))) == 2
