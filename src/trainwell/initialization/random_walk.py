"""The gain with which the size of back-propagated gradients is a random walk without drift, for three activations.

Between layers of N units, delta' = f'(h) * (W^T delta) with W_ij ~ N(0, g² / N), so that

    |delta'|² / |delta|² = (g² / N) sum_i f'(h_i)² z_i²,   z_i ~ N(0, 1)

whose logarithm shall have mean 0. For linear units that is g = exp(1 / 2N), to the order 1 / N; for ReLU the paper has
a fit. For tanh, h ~ N(0, q) with the variance that wide layers settle at, q = g² E tanh(h)², and g is the root of

    ln g² + E ln X = 0,   X = sum_i f'(h_i)² z_i² / N,   E ln X = integral_0^inf (e^-t - E e^-tX) dt / t,
    E e^-tX = (E_h (1 + 2 t f'(h)² / N)^(-1/2))^N

Source: Sussillo & Abbott 2014, arXiv:1412.6558, sections 3 and 4 (linear, ReLU; for tanh "numerically").
"""

import math
from functools import cache
from typing import Literal

import numpy as np
from scipy.optimize import brentq

WalkActivation = Literal["relu", "linear", "tanh"]

LEAST_RELU = 6  # the fit is not defined for narrower layers, in which all units die too often
LEAST_TANH = 10  # with fewer than nine saturated units lose more, typically, than any gain brings back
NODES = 61  # of the Gauss-Hermite rule; E tanh² is exact to 1e-9 with them where q < 4
LOG_SCALES = np.linspace(-40.0, 40.0, 4001)  # of t; what lies outside adds less than 1e-9
WIDEST = 4.0  # gains looked at for tanh


def gain(activation: WalkActivation, units: int) -> float:
    """Return g for layers with a fan-in of so many units.

    >>> round(gain("relu", 100), 5), round(gain("linear", 100), 5)
    (1.43171, 1.00501)
    >>> 1.1 < gain("tanh", 100) < 1.2 < gain("tanh", 30) < 1.3
    True
    """
    if activation == "linear":
        return math.exp(1 / (2 * units))
    if activation == "relu":
        return math.sqrt(2) * math.exp(1.2 / (max(units, LEAST_RELU) - 2.4))
    return _gain_of_tanh(max(units, LEAST_TANH))


@cache
def _gain_of_tanh(units: int) -> float:
    return float(brentq(lambda g: _drift(g, units), 1.0, WIDEST, xtol=1e-10))


def _drift(g: float, units: int) -> float:
    """Return the mean of ln |delta'|² / |delta|² in a tanh network with that gain."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    slopes = 1 - np.tanh(math.sqrt(_settled(g, nodes, weights)) * nodes) ** 2
    scales = np.exp(LOG_SCALES)
    transform = ((1 + 2 * np.outer(scales, slopes**2) / units) ** -0.5 @ weights) ** units
    return 2 * math.log(g) + float(np.trapezoid(np.exp(-scales) - transform, LOG_SCALES))


def _settled(g: float, nodes: np.ndarray, weights: np.ndarray) -> float:
    """Return the variance q = g² E tanh(h)² that signals settle at, h ~ N(0, q); 0 where they die out."""

    def excess(q: float) -> float:
        return float(g**2 * (weights @ np.tanh(math.sqrt(q) * nodes) ** 2) - q)

    least = 1e-9
    return 0.0 if excess(least) <= 0 else float(brentq(excess, least, g**2 + 1, xtol=1e-12))
