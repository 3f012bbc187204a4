"""Make a classifier as sure as it is right: one number, the temperature, that sharpens or softens all probabilities.

The order of the classes stays, so no answer changes; confidences do. The temperature is fitted on val, never on test.

Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, section 4.2; the targets that
keep it from running away where no answer is wrong: Platt 1999, "Probabilistic outputs for support vector machines".
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.metrics.checking import checked_scores, checked_targets

COLDEST, HOTTEST = 0.05, 20.0
EXACT_TO = 1e-4  # of the temperature; intervals of calibration errors are a thousand times wider
AT_ONCE = 2**16  # numbers; so many of float64 stay in a core's own cache


def temperature(scores: ArrayLike, targets: ArrayLike) -> float:
    """Return the temperature under which these samples are least surprising.

        p(T) = softmax(scores / T)
        T    = argmin  - sum_n [ (1 - e) log p_y(T) + e mean_{k != y} log p_k(T) ],   e = 1 / (N + 2)

    Args:
        scores: (N, K) raw scores of a network, or logarithms of probabilities; finite. From probabilities that were
            rounded to 0 nothing can be learned any more, which is why they are not taken.
        targets: (N,) class ids.

    Returns:
        Above 1 where the classifier is too sure, below 1 where it is too modest; between 0.05 and 20, exact to 1e-4
        of itself.

    Raises:
        ShapeError: scores are not (N, K), or targets not (N,).
        DataInvalid: a score is not finite, or a target is no class id.

    >>> sure = [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]
    >>> temperature(sure, [0, 0, 1, 1]) > 1
    True
    """
    centred = _centred(checked_scores(scores))
    count, classes = centred.shape
    ids = checked_targets(targets, count, classes)
    rare = 1.0 / (count + 2)
    given = centred[np.arange(count), ids]
    others = (centred.sum(1) - given) / (classes - 1)
    wanted = float(((1 - rare) * given + rare * others).mean())  # the second term of the sum is linear in 1 / T

    def surprise(log_temperature: float) -> float:
        sharpness = float(np.exp(-log_temperature))
        return _mean_log_norm(centred, sharpness) - sharpness * wanted

    return float(np.exp(_lowest(surprise, float(np.log(COLDEST)), float(np.log(HOTTEST)))))


def at_temperature(scores: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Return the (N, K) float32 softmax of scores, sharpened (below 1) or softened (above 1) by a temperature.

    Raises:
        ShapeError: scores are not (N, K).
        DataInvalid: a score is not finite.

    >>> at_temperature([[1.386, 0.0]], 0.5).round(3).tolist()
    [[0.9409999847412109, 0.05900000035762787]]
    """
    powers = _centred(checked_scores(scores))
    powers /= temperature
    np.exp(powers, out=powers)
    powers /= powers.sum(1, keepdims=True)
    return powers.astype(np.float32)


def _centred(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return a copy of scores whose highest in each row is 0, which changes no softmax."""
    floats: NDArray[np.float64] = scores.astype(np.float64)
    floats -= floats.max(1, keepdims=True)
    return floats


def _mean_log_norm(centred: NDArray[np.float64], sharpness: float) -> float:
    """Return the mean over rows of log sum_k exp(sharpness * score_k), a few rows at a time."""
    count, classes = centred.shape
    rows = max(1, AT_ONCE // classes)
    room = np.empty((min(rows, count), classes))
    total = 0.0
    for first in range(0, count, rows):
        piece = centred[first : first + rows]
        powers = np.multiply(piece, sharpness, out=room[: len(piece)])
        total += float(np.log(np.exp(powers, out=powers).sum(1)).sum())
    return total / float(count)


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function of one valley is lowest, by golden sections."""
    share = (5.0**0.5 - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > EXACT_TO:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = function(right)
    return float((low + high) / 2)
