"""The bound against gradients written out, the noise against its stated spread, and the judgement of known tables."""

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.batch_norm_landscape import (
    BOUND,
    NOISY,
    NORMED,
    NOT_HERE,
    PLAIN,
    SMOOTH,
    Noise,
    bound,
    judge,
    layers_of,
)
from trainwell.models.mlp import MLP


def test_both_sides_of_the_bound_are_equal_to_rounding() -> None:
    values = bound(0)
    np.testing.assert_allclose(values["right / left"], 1, atol=1e-12)
    assert 0 < np.max(values["taken away"]) < 1


def test_the_bound_follows_from_the_backward_pass_of_batch_norm() -> None:
    generator = np.random.default_rng(0)
    y, above = generator.normal(size=9), generator.normal(size=9)
    gamma, m, deviation = 1.3, 9, y.std()
    hat = (y - y.mean()) / deviation
    back = gamma / (m * deviation) * (m * above - above.sum() - hat * (above * hat).sum())
    right = gamma**2 / deviation**2 * (above @ above - above.sum() ** 2 / m - (above @ hat) ** 2 / m)
    assert back @ back == pytest.approx(right, rel=1e-12)


def test_a_norm_belongs_to_the_layer_in_front_of_it() -> None:
    network = MLP(6, 3, hidden=(4, 5), norm="batch")
    shapes = [[tuple(weight.shape) for weight in layer] for layer in layers_of(network)]
    assert shapes == [[(4, 6), (4,), (4,)], [(5, 4), (5,), (5,)], [(3, 5), (3,)]]


def test_noise_shifts_and_scales_each_unit_as_the_paper_says_and_only_in_training() -> None:
    torch.manual_seed(0)
    noise, inputs = Noise(), torch.randn(2_000, 300)
    assert torch.equal(noise.eval()(inputs), inputs)
    found = noise.train()(inputs)
    slopes = ((found - found.mean(dim=0)) * (inputs - inputs.mean(dim=0))).mean(dim=0) / inputs.var(dim=0)
    means = found.mean(dim=0) - slopes * inputs.mean(dim=0)
    assert means.abs().max() < 0.5 + 0.02  # the mean of 2,000 samples: 0.003 is one sigma
    assert means.std().item() == pytest.approx(1 / 12**0.5, rel=0.2)  # of a uniform one; 300 units: 3 % is one sigma
    assert 1 - 0.03 < slopes.min() < 1.02
    assert 1.23 < slopes.max() < 1.25 + 0.03
    assert not torch.equal(noise(inputs), found)


def test_a_table_without_smoothing_is_judged_so_and_one_like_the_paper_s_too() -> None:
    def row(size: float, shift: float, cosine: float, loss: float) -> dict[str, list[float]]:
        return {**{name: [size] * 4 for name in SMOOTH}, "covariate shift": [shift] * 4, "cosine": [cosine] * 4} | {
            "loss": [loss] * 100
        }

    exact = {"right / left": [1.0], "taken away": 0.1}

    def table(normed: dict[str, list[float]], noisy: dict[str, list[float]]) -> dict[str, bool]:
        cells = {PLAIN: [row(2, 0.5, 0.5, 1.0)] * 3, NORMED: [normed] * 3, NOISY: [noisy] * 3, BOUND: [exact] * 3}
        return {check.claim: check.holds for check in judge(Table(cells))}

    paper = table(row(1, 0.5, 0.5, 0.8), row(1, 0.6, 0.4, 0.9))
    assert len(paper) == 8
    assert all(paper.values())
    ours = table(row(1, 0.3, 0.7, 0.8), row(1, 0.3, 0.7, 1.1))
    assert {claim for claim, holds in ours.items() if not holds} == set(NOT_HERE)
    rough = table(row(3, 0.5, 0.5, 1.2), row(3, 0.5, 0.5, 0.9))
    assert sum(not holds for holds in rough.values()) == 4


def test_layers_are_numbered_in_order_whatever_stands_between() -> None:
    network = MLP(6, 3, hidden=(4,), norm="batch")
    network.body[1] = nn.Sequential(network.body[1], Noise())
    assert [len(layer) for layer in layers_of(network)] == [3, 2]
