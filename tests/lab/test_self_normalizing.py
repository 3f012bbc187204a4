"""Self-normalizing units: moments against quadrature, layers against a rewrite, the judge against broken rows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.core.shelves import activations, experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.self_normalizing import (
    BATCH,
    DEEP,
    DEEP_PAIRS,
    KICKED_AT,
    LAYERS,
    PAIRS,
    SHIFTED,
    SIGNALS,
    UNITS,
    build,
    expected,
    judge,
    layers_back,
    measure,
    selu_moments,
    share_of_mean,
    train,
)
from trainwell.lab.plain_loop import few_digits


@pytest.mark.parametrize("square", [0.1, 0.5625, 1.0, 4.0])
def test_the_moments_of_selu_are_those_of_quadrature_on_both_half_lines(square: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = np.concatenate([-(nodes + 1) * 6, (nodes + 1) * 6])
    share = np.concatenate([weights, weights]) * 6 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    values = nn.functional.selu(torch.from_numpy(z * math.sqrt(square))).numpy()
    assert selu_moments(square) == pytest.approx(((values * share).sum(), (values**2 * share).sum()), abs=1e-10)


def test_mean_0_and_variance_1_are_a_fixed_point() -> None:
    assert selu_moments(1.0) == pytest.approx((0.0, 1.0), abs=1e-12)
    means, variances = expected({})
    assert means == pytest.approx([0.0] * LAYERS, abs=1e-9)
    assert variances == pytest.approx([1.0] * LAYERS, abs=1e-9)


def test_what_is_disturbed_moves_towards_the_fixed_point_at_each_layer() -> None:
    for start in ({"mean": 1.0, "variance": 3.0}, {"variance": 0.1}):
        away = np.abs(np.log(expected(start)[1]))
        assert (np.diff(away[:40]) < 0).all()
    assert expected({"kicked_at": KICKED_AT})[1][KICKED_AT - 1] == pytest.approx(3.0, rel=1e-6)


def test_each_layer_is_that_of_a_rewrite_in_float64() -> None:
    found = measure(SIGNALS[f"selu disturbed after layer {KICKED_AT}"], 3, True)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BATCH, UNITS, generator=generator).double()
    for layer in range(KICKED_AT + 1):
        z = x @ torch.randn(UNITS, UNITS, generator=generator).double() / math.sqrt(UNITS)
        x = 1.0507009873554805 * torch.where(z > 0, z, 1.6732632423543772 * torch.expm1(z))
        x = 1 + math.sqrt(3) * x if layer == KICKED_AT - 1 else x
        assert found["mean"][layer] == pytest.approx(float(x.mean()), abs=1e-3)
        assert found["variance"][layer] == pytest.approx(float(x.var(correction=0)), rel=1e-3)


def test_a_bipolar_unit_keeps_the_odd_half_of_its_function() -> None:
    numbers = 1 + torch.randn(10_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for old, new in PAIRS.items():
        plain = activations.build(old)
        odd = (plain(numbers) - plain(-numbers)).mean() / 2
        assert share_of_mean(new, 5) == pytest.approx(float(odd / numbers.mean()), rel=1e-12)


def test_a_network_has_the_layers_and_the_scale_of_its_activation() -> None:
    """A variance of n Gaussian weights spreads by sqrt(2 / n); five deviations fail once in a million."""
    torch.manual_seed(0)
    layers = [part for part in build("relu", 4) if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in layers] == [(64, 64)] * 4 + [(64, 10)]
    for part, square in zip(layers, (1.0, 2.0, 2.0, 2.0, 2.0), strict=True):
        spread = 5 * (2 / part.weight.numel()) ** 0.5
        assert float(part.weight.detach().var()) * 64 == pytest.approx(square, rel=spread)


@pytest.mark.parametrize("name", [card.name for card in activations])
def test_every_activation_can_be_trained(name: str) -> None:
    found = train(name, 2, few_digits(0, count=128, held_out=32), rate=0.05, steps=10, seed=0)
    assert math.isfinite(found["mean loss"])
    assert len(found["loss"]) == 10
    assert ("learned level" in found) is (name == "flexible_relu")


def test_a_run_that_diverges_has_learned_nothing() -> None:
    found = train("identity", 4, few_digits(0), rate=1e4, steps=20, seed=0)
    assert found["loss"] == pytest.approx([math.log(10)] * 10)


def test_layers_back_are_counted_from_the_disturbance_to_the_last_layer_that_is_away() -> None:
    assert layers_back([2.0, 1.2, 1.05, 0.95], 0) == 3
    assert layers_back([1.0, 3.0, 1.5, 1.0], 2) == 2
    assert layers_back([1.0, 1.0], 0) == 1


def test_the_judge_sees_what_is_broken() -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for arm, settings in SIGNALS.items():
        is_selu = settings["activation"] == "selu"
        means, variances = expected(settings) if is_selu else ([0.0] * LAYERS, [1.0] * LAYERS)
        means = [0.5] * LAYERS if arm in PAIRS else means
        rows[arm] = [{"mean": means, "variance": variances}] * 3
    for arm, kept in zip(SHIFTED, (0.5, 0.505, 0.7), strict=True):
        rows[arm] = [{"share of the mean": kept}] * 3
    for name, error in (("relu", 0.03), ("flexible_relu", 0.02)):
        rows[f"digits, {name}"] = [{"error": error, "learned level": -0.1}] * 3
    for pair in DEEP_PAIRS.items():
        for name, loss in zip(pair, (2.0, 1.0), strict=True):
            rows[f"{DEEP} layers, {name}"] = [{"mean loss": loss}] * 3
    assert all(check.holds for check in judge(Table(rows)))
    for arm, row in (
        ("selu, gain 3/4", {"mean": [0.0] * LAYERS, "variance": [1.0] * LAYERS}),
        ("bipolar_elu", {"mean": [0.3] * LAYERS, "variance": [1.0] * LAYERS}),
        ("numbers of mean 1, bipolar_relu", {"share of the mean": 0.51}),
        (f"{DEEP} layers, bipolar_elu", {"mean loss": 2.5}),
    ):
        assert sum(not check.holds for check in judge(Table({**rows, arm: [row] * 3}))) == 1, arm
    assert set(rows) <= set(experiments.build("self_normalizing").arms)


def test_every_activation_of_the_shelf_has_its_row() -> None:
    arms = experiments.build("self_normalizing").arms
    assert {f"digits, {card.name}" for card in activations} <= set(arms)
