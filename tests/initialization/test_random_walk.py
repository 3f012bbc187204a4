"""The gains of the random walk: the printed ones, and no drift of the logarithm of what is back-propagated."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from trainwell.initialization.random_walk import WalkActivation, gain

Array = NDArray[np.float64]


@pytest.mark.parametrize(("units", "printed"), [(10, 1.65610), (50, 1.45032), (100, 1.43171), (1000, 1.41592)])
def test_the_gain_for_relu_is_the_printed_one(units: int, printed: float) -> None:
    assert gain("relu", units) == pytest.approx(printed, abs=6e-6)


def test_narrow_layers_have_a_gain_too() -> None:
    assert all(
        math.isfinite(gain(activation, units)) for activation in ("relu", "linear", "tanh") for units in (1, 3, 7)
    )


def test_the_gain_of_tanh_falls_towards_one_with_width() -> None:
    gains = [gain("tanh", units) for units in (10, 30, 100, 100_000)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(1, abs=0.01)


def steps(activation: WalkActivation, units: int, count: int) -> Array:
    """ln |delta'|² / |delta|² of single layers; the mask of ReLU is a fair coin for each unit, as in the paper."""
    dice = np.random.default_rng(0)
    scale = gain(activation, units) / math.sqrt(units)
    logs = []
    while len(logs) < count:
        delta = dice.standard_normal(units)
        after = scale * dice.standard_normal((units, units)) @ delta
        if activation == "relu":
            after = after * (dice.random(units) < 0.5)
        if after.any():  # given that some unit lives
            logs.append(math.log((after @ after) / (delta @ delta)))
    return np.array(logs)


@pytest.mark.parametrize(
    ("activation", "units"), [("linear", 10), ("linear", 50), ("linear", 100), ("relu", 50), ("relu", 100)]
)
def test_the_logarithm_of_a_gradient_does_not_drift(activation: WalkActivation, units: int) -> None:
    """Within 5.5 standard errors of 0, and what the formulas leave out: some 1 / N² a layer, 0.003 for ReLU's fit."""
    found = steps(activation, units, 2000)
    left_out = 0.003 if activation == "relu" else 1 / units**2
    assert abs(found.mean()) < 5.5 * found.std() / math.sqrt(len(found)) + left_out


def walk(units: int, depth: int, gain: float, dice: np.random.Generator, start: int = 20) -> float:
    """The drift a layer of ln |delta|² in one tanh network, signals and gradients both run through it."""
    signal, weights, slopes = dice.standard_normal(units), [], []
    for _ in range(depth):
        weights.append(dice.standard_normal((units, units)) * gain / math.sqrt(units))
        signal = np.tanh(weights[-1] @ signal)
        slopes.append(1 - signal**2)
    delta = dice.standard_normal(units)
    logs = [math.log(delta @ delta)]
    for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
        delta = weight.T @ (delta * slope)
        logs.append(math.log(delta @ delta))
    return (logs[-1 - start] - logs[start]) / (depth - 2 * start)


@pytest.mark.slow
@pytest.mark.parametrize("units", [50, 100])
def test_nor_does_it_in_a_tanh_network(units: int) -> None:
    """Within 5.5 standard errors, and 0.005 a layer, by which the variance of a narrow layer's signals misses q."""
    dice = np.random.default_rng(0)
    drifts = np.array([walk(units, 150, gain("tanh", units), dice) for _ in range(40)])
    assert abs(drifts.mean()) < 5.5 * drifts.std() / math.sqrt(len(drifts)) + 0.005
    wrong = np.array([walk(units, 150, 1.3, dice) for _ in range(10)])
    assert abs(wrong.mean()) > 0.02
