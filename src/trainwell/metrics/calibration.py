"""Whether a classifier is right as often as it says, and how right it is where it is sure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.metrics.checking import Integers, checked

Floats = NDArray[np.floating[Any]]

BINS = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """The samples sorted into bins of equal width by confidence, which is the highest probability.

    Bin b holds confidences in (edges[b], edges[b + 1]]. Means of an empty bin are NaN.

    Attributes:
        edges: (B + 1,) from 0 to 1.
        confidence: (B,) mean confidence.
        accuracy: (B,) share of samples that are right.
        count: (B,) samples.
        error: the expected calibration error: mean of |accuracy - confidence| over the bins, weighted by their
            samples.
        error_by_chance: what a perfectly calibrated classifier of these confidences shows on average on so
            few samples; an error near it is no evidence of bad calibration.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3; chance: Vaicenavicius et al. 2019,
    arXiv:1902.06977, in the normal approximation.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    count: Integers
    error: float
    error_by_chance: float


@dataclass(frozen=True, eq=False)
class Coverage:
    """What is gained by answering only where the confidence is at least a threshold.

    Attributes:
        threshold: (T,) from 0 to 1.
        answered: (T,) share of samples with an answer.
        accuracy: (T,) share of the answers that are right; NaN where there is no answer.
    """

    threshold: Floats
    answered: Floats
    accuracy: Floats


def bins_of(confidences: Floats, bins: int = BINS) -> Integers:
    """Return the bin (N,) of each confidence: (0, 1/B] is the first, ((B - 1)/B, 1] the last."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidences, side="left")


def calibration(probabilities: ArrayLike, targets: ArrayLike, *, bins: int = BINS) -> Calibration:
    """Sort samples into bins by confidence and compare it with how often they are right.

    Args:
        probabilities: (N, K) rows that sum to 1.
        targets: (N,) class ids.
        bins: B, how many.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    >>> found = calibration(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]))
    >>> round(found.error, 3)
    0.4
    """
    floats, ids = checked(probabilities, targets)
    confidences = floats.max(axis=1).astype(np.float64)
    where, is_right = bins_of(confidences, bins), floats.argmax(axis=1) == ids
    count = np.bincount(where, minlength=bins)
    sure = np.bincount(where, weights=confidences, minlength=bins)
    right = np.bincount(where, weights=is_right, minlength=bins)
    variance = np.bincount(where, weights=np.maximum(confidences * (1 - confidences), 0), minlength=bins)
    with np.errstate(invalid="ignore"):
        means = sure / count, right / count
    return Calibration(
        edges=np.linspace(0, 1, bins + 1),
        confidence=means[0],
        accuracy=means[1],
        count=count,
        error=float(np.abs(right - sure).sum()) / len(ids),
        error_by_chance=float(np.sqrt(2 / np.pi * variance).sum()) / len(ids),  # E|x| of a normal x
    )


def coverage(probabilities: ArrayLike, targets: ArrayLike, *, thresholds: ArrayLike | None = None) -> Coverage:
    """Return share answered and accuracy among the answers, as functions of the confidence threshold.

    Args:
        probabilities: (N, K) rows that sum to 1.
        targets: (N,) class ids.
        thresholds: (T,) confidences; 0, 0.01 … 1 where not given.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    >>> found = coverage(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), thresholds=[0.5, 0.8])
    >>> found.answered.tolist(), found.accuracy.tolist()
    ([1.0, 0.5], [0.5, 1.0])
    """
    floats, ids = checked(probabilities, targets)
    levels = np.asarray(np.linspace(0, 1, 101) if thresholds is None else thresholds, dtype=np.float64)
    confidences, is_right = floats.max(axis=1), floats.argmax(axis=1) == ids
    order = np.argsort(confidences)
    right_before = np.concatenate(([0], np.cumsum(is_right[order])))
    # A threshold is compared in the precision of the confidences, as a user who reads 0.9 would.
    silent = np.searchsorted(confidences[order], levels.astype(confidences.dtype), side="left")
    answers = len(ids) - silent
    with np.errstate(invalid="ignore"):
        accuracy = (right_before[-1] - right_before[silent]) / answers
    return Coverage(levels, answers / len(ids), accuracy)
