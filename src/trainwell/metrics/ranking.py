"""How well scores rank one class above the rest: the area under the ROC curve, and what each sample adds to it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.stats import UNDEFINED, Interval, mean_interval, percentile_interval, share

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def roc_auc(scores: Floats, is_positive: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Return the share of (positive, negative) pairs in which the positive scores higher; a tie counts half.

    Args:
        scores: (N,) floats.
        is_positive: (N,) which samples are of the class.

    Returns:
        The area; NaN where positives or negatives are missing. And each sample's influence (N,), with mean 0:
        where sample n is given the weight w_n, of mean 1, the area moves by mean((w_n - 1) influence_n) to
        first order.

    Source: DeLong et al. 1988, "Comparing the areas under two or more correlated ROC curves": the
    influences are its structural components.

    >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))[0]
    0.75
    """
    positives = int(is_positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return float("nan"), np.zeros(len(scores))
    order = np.argsort(scores)
    ordered, rank = scores[order], np.empty(len(scores), dtype=np.int64)
    rank[order] = np.concatenate(([0], np.cumsum(ordered[1:] != ordered[:-1])))  # equal scores share a rank
    positives_at = np.bincount(rank, weights=is_positive)
    negatives_at = np.bincount(rank) - positives_at
    positives_below = np.cumsum(positives_at) - positives_at / 2
    negatives_below = np.cumsum(negatives_at) - negatives_at / 2
    area = float(positives_at @ negatives_below) / (positives * negatives)
    of_positive = (negatives_below / negatives - area) * (len(scores) / positives)
    of_negative = (1 - positives_below / positives - area) * (len(scores) / negatives)
    return area, np.where(is_positive, of_positive[rank], of_negative[rank])


def area_interval(area: float, moves: Floats, pairs: int) -> Interval:
    """Return an area with its interval from the resampled means (R,) of its influences.

    An area of 0 or 1 has no influences. It is a share of pairs; among pairs that have no sample in common
    these are independent trials, so Wilson's interval for that many is wide enough.
    """
    if np.isnan(area):
        return UNDEFINED
    if area in (0, 1):
        return share(round(area) * pairs, pairs)
    return percentile_interval(area, _moved(area, moves))


def mean_area_interval(areas: NDArray[np.float64], moves: Floats, pairs: Integers, *, seed: int) -> Interval:
    """Return the mean area of the classes that have one, from the resampled means (R, K) of its influences."""
    defined = ~np.isnan(areas)
    if not defined.any():
        return UNDEFINED
    areas, pairs, moves = areas[defined], pairs[defined], moves[:, defined].mean(axis=1)
    mean = float(areas.mean())
    resampled = np.full(len(moves), mean) if mean in (0, 1) else _moved(mean, moves)
    is_blind = (areas == 0) | (areas == 1)
    return mean_interval(areas, np.where(is_blind, pairs, np.inf), resampled, seed=seed)


def _moved(area: float, moves: Floats) -> Floats:
    """Return an area moved by small steps on the logit scale."""
    odds = np.log(area / (1 - area)) + moves / (area * (1 - area))
    with np.errstate(over="ignore"):  # exp(-odds) = inf is an area of 0
        moved: Floats = 1 / (1 + np.exp(-odds))
    return moved
