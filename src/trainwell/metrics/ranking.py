"""How well scores rank one class above the rest: the area under the ROC curve, and what each sample adds to it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


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
