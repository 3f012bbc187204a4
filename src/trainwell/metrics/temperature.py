"""Make a classifier as sure as it is right: one number, the temperature, that sharpens or softens all probabilities.

The order of the classes stays, so no answer changes; confidences do. The temperature is fitted on val, never on test.

Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, section 4.2; the targets that
keep it from running away where no answer is wrong: Platt 1999, "Probabilistic outputs for support vector machines".
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.metrics.checking import checked

COLDEST, HOTTEST = 0.05, 20.0
ROUNDS = 60  # golden sections; each leaves 0.62 of the range, so the answer is exact to 1e-12


def temperature(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Return the temperature under which these samples are least surprising.

        p_k(T) = p_k^(1/T) / sum_j p_j^(1/T)
        T      = argmin  - sum_n [ (1 - e) log p_y(T) + e mean_{k != y} log p_k(T) ],   e = 1 / (N + 2)

    Args:
        probabilities: (N, K), each row sums to 1.
        targets: (N,) class ids.

    Returns:
        Above 1 where the classifier is too sure, below 1 where it is too modest; between 0.05 and 20.

    >>> sure = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]
    >>> temperature(sure, [0, 0, 1, 1]) > 1
    True
    """
    floats, ids = checked(probabilities, targets)
    logs = _logs(floats)
    count, classes = logs.shape
    rare = 1.0 / (count + 2)
    wanted = np.full_like(logs, rare / (classes - 1))
    wanted[np.arange(count), ids] = 1.0 - rare

    def surprise(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(1, keepdims=True)
        norms = top[:, 0] + np.log(np.exp(scaled - top).sum(1))
        return float((norms - (wanted * scaled).sum(1)).mean())

    return float(np.exp(_lowest(surprise, float(np.log(COLDEST)), float(np.log(HOTTEST)))))


def at_temperature(probabilities: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Return (N, K) float32 probabilities sharpened (below 1) or softened (above 1) by a temperature.

    >>> at_temperature([[0.8, 0.2]], 0.5).round(3).tolist()
    [[0.9409999847412109, 0.05900000035762787]]
    """
    scaled = _logs(np.asarray(probabilities)) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    shares: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return shares


def _logs(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    return np.log(np.clip(probabilities.astype(np.float64), np.finfo(np.float32).tiny, None))


def _lowest(function: Any, low: float, high: float) -> float:
    """Return where a function of one valley is lowest, by golden sections."""
    share = (np.sqrt(5.0) - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(ROUNDS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = function(right)
    return float((low + high) / 2)
