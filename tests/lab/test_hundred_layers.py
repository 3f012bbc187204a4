"""Claim 4: overflow and underflow where float32 ends, the moments of one layer in closed form, exact powers."""

import math

import numpy as np
import pytest
import torch

from trainwell.lab.experiments.hundred_layers import ARMS, LAYERS, POWERS_OF_THREE, UNITS, _deep, _one_layer, measure


def test_growth_without_activation_is_the_root_of_the_units_and_ends_where_float32_does() -> None:
    found = measure(ARMS["no activation, 1"], 0, True)
    doubles = np.array(found["deviation in float64"])
    rates = np.diff(np.log(doubles))
    assert rates.mean() == pytest.approx(0.5 * math.log(UNITS), abs=0.02)
    lost = int(found["first layer lost"])
    assert found["overflowed"] == 1
    assert doubles[lost - 1] > torch.finfo(torch.float32).max / 10 > doubles[lost - 3]
    assert found["deviation"][: lost - 1] == pytest.approx(doubles[: lost - 1].tolist(), rel=1e-4)


def test_small_weights_underflow_where_float32_has_no_smaller_number() -> None:
    found = measure(ARMS["no activation, 0.01"], 0, True)
    assert (found["underflowed"], found["overflowed"], found["deviation"][-1]) == (1, 0, 0)
    lost = int(found["first layer lost"])
    assert found["deviation in float64"][lost - 1] < 1e-44


def test_a_hundred_layers_are_those_of_a_rewrite() -> None:
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    found = _deep({"activation": "tanh", "deviation": UNITS**-0.5}, generator)
    x = torch.randn(UNITS, generator=again).numpy().astype(np.float64)
    for _ in range(LAYERS):
        x = np.tanh(torch.randn(UNITS, UNITS, generator=again).numpy().astype(np.float64) @ x / np.sqrt(UNITS))
    assert found["deviation in float64"][-1] == pytest.approx(x.std(), rel=1e-5)
    assert found["deviation"][-1] == pytest.approx(x.std(), rel=1e-3)


def test_xavier_uniform_weights_stay_in_their_bound_and_have_their_variance() -> None:
    bound = ARMS["ReLU, Xavier uniform"]["bound"]
    assert bound**2 / 3 == pytest.approx(2 / (UNITS + UNITS))


def test_one_layer_has_the_moments_of_rectified_gaussians() -> None:
    found = _one_layer(torch.Generator().manual_seed(0), 300)
    assert math.sqrt(found["mean square"]) == pytest.approx(math.sqrt(UNITS / 2), rel=0.02)
    assert found["mean"] == pytest.approx(math.sqrt(UNITS / (2 * math.pi)), rel=0.02)


def test_powers_are_exact_as_far_as_float64_holds_them() -> None:
    found = measure(ARMS["multiples of the identity"], 0, True)
    assert found["error of 1.5^L"] == [0] * POWERS_OF_THREE
    assert found["error of 0.5^L"] == [0] * LAYERS


@pytest.mark.slow
def test_the_first_wide_layer_has_the_deviation_of_tanh_of_a_gaussian() -> None:
    found = measure(ARMS["six wide tanh layers"], 0, True)
    draws = np.random.default_rng(0).normal(size=2_000_000)
    for name, scale in (("0.01", 0.64), ("0.05", 3.2), ("1/√k", 1.0)):
        assert found[name][0] == pytest.approx(np.tanh(scale * draws).std(), rel=0.01)
