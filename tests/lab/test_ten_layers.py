"""Claim 3: the measuring against a rewrite in float64, and against the closed form of the first layer."""

import numpy as np
import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.ten_layers import ARMS, BINS, LAYERS, SAMPLES, UNITS, judge, measure


@pytest.mark.parametrize("arm", ["tanh, 0.01", "tanh, 1/√k", "ReLU, √(2/k)"])
def test_each_layer_is_that_of_a_rewrite_in_float64(arm: str) -> None:
    settings = ARMS[arm]
    found = measure(settings, 4, False)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(SAMPLES, UNITS, generator=generator).numpy().astype(np.float64)
    for layer in range(LAYERS):
        weights = torch.randn(UNITS, UNITS, generator=generator).numpy().astype(np.float64)
        z = np.einsum("nk,kd->nd", x, weights * settings["deviation"], optimize=True)
        x = np.tanh(z) if settings["activation"] == "tanh" else np.maximum(z, 0)
        assert found["deviation"][layer] == pytest.approx(np.sqrt(((x - x.mean()) ** 2).mean()), rel=1e-4)
        assert found["mean"][layer] == pytest.approx(x.mean(), rel=1e-4, abs=1e-4 * x.std())
        assert found["second moment"][layer] == pytest.approx((x**2).mean(), rel=1e-4)


def test_the_first_rectified_layer_has_the_moments_of_a_rectified_gaussian() -> None:
    found = measure(ARMS["ReLU, 1/√k"], 0, False)
    assert found["deviation"][0] == pytest.approx(np.sqrt(1 / 2 - 1 / (2 * np.pi)), rel=0.01)
    assert found["mean"][0] == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.01)


def test_histograms_hold_every_unit_of_every_sample() -> None:
    found = measure(ARMS["tanh, 1"], 0, False)
    for layer in range(1, LAYERS + 1):
        histogram = found[f"histogram of layer {layer}"]
        assert len(histogram) == BINS
        assert sum(histogram) == pytest.approx(1)


def test_saturated_units_are_those_whose_derivative_is_small() -> None:
    share = measure(ARMS["tanh, 1"], 0, False)["saturated"][0]
    edge = np.arctanh(np.sqrt(0.95)) / np.sqrt(UNITS)  # of a unit Gaussian, below which tanh' > 0.05
    draws = np.abs(np.random.default_rng(0).normal(size=1_000_000))
    assert share == pytest.approx((draws > edge).mean(), abs=0.01)


def test_a_wrong_number_is_not_shown() -> None:
    rows = {arm: [dict(measure(settings, seed, True)) for seed in range(2)] for arm, settings in ARMS.items()}
    for row in rows["tanh, 0.01"]:
        row["deviation"] = [1.3 * value for value in row["deviation"]]
    failed = [check.claim for check in judge(Table(rows)) if check.claim.startswith("tanh, 0.01") and not check.holds]
    assert len(failed) == 3
