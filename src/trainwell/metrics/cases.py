"""The samples worth looking at: the worst mistakes, the closest calls and the likely wrong labels.

Each function returns positions (int64), the most striking first; ties keep the order of the samples.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.metrics.checking import checked, checked_probabilities

Positions = NDArray[np.int64]


def _first(positions: Positions, keys: NDArray[np.floating[Any]], n: int) -> Positions:
    """Return the n positions with the smallest keys."""
    return positions[np.argsort(keys, kind="stable")[:n]].astype(np.int64)


def most_wrong(probabilities: ArrayLike, targets: ArrayLike, n: int) -> Positions:
    """Return at most n samples that are answered wrongly, the least probable given class first.

    Args:
        probabilities: (N, K) rows that sum to 1.
        targets: (N,) class ids.
        n: how many at most.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    >>> most_wrong([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [1, 1, 1], 5).tolist()
    [0, 2]
    """
    floats, ids = checked(probabilities, targets)
    wrong = np.flatnonzero(floats.argmax(axis=1) != ids)
    return _first(wrong, floats[wrong, ids[wrong]], n)


def least_certain(probabilities: ArrayLike, n: int) -> Positions:
    """Return the n samples whose two highest probabilities lie closest together.

    Args:
        probabilities: (N, K) rows that sum to 1.
        n: how many at most.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    >>> least_certain([[0.9, 0.1], [0.45, 0.55]], 1).tolist()
    [1]
    """
    floats = checked_probabilities(probabilities)
    top = np.partition(floats, -2, axis=1)[:, -2:]
    return _first(np.arange(len(floats)), top[:, 1] - top[:, 0], n)


def likely_label_errors(probabilities: ArrayLike, targets: ArrayLike, n: int) -> Positions:
    """Return at most n samples whose given class is probably wrong, the surest first.

    Confident learning: class k is believed where its probability is at least t_k, the mean probability of k
    over the samples that carry the label k. A sample is listed where its own class is not believed, another is,
    and that one is more probable; the order is by the difference of the two. A class without samples is never
    believed. The probabilities must come from a network that was not trained on these samples.

    Args:
        probabilities: (N, K) rows that sum to 1.
        targets: (N,) class ids.
        n: how many at most.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    Source: Northcutt et al. 2021, arXiv:1911.00068, section 3: the off-diagonal of the confident joint,
    ranked by normalized margin. Here a sample whose own class is also above its threshold is never listed.

    >>> likely_label_errors([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.3, 0.7]], [0, 0, 1, 1], 5).tolist()
    [2]
    """
    floats, ids = checked(probabilities, targets)
    own = floats[np.arange(len(ids)), ids].astype(np.float64)
    labelled = np.bincount(ids, minlength=floats.shape[1])
    sums = np.bincount(ids, weights=own, minlength=floats.shape[1])
    thresholds = np.divide(sums, labelled, out=np.full(len(sums), np.inf), where=labelled > 0)
    believed = np.where(floats >= thresholds, floats, 0)
    believed[np.arange(len(ids)), ids] = 0
    other = believed.max(axis=1)
    suspects = np.flatnonzero((own < thresholds[ids]) & (other > own))
    return _first(suspects, own[suspects] - other[suspects], n)


def shown(probabilities: ArrayLike, targets: ArrayLike, n: int = 48) -> Positions:
    """Return at most n samples for the report: worst mistakes, closest calls and likely wrong labels in turn.

    Raises:
        ShapeError, DataInvalid: see `measure`.

    >>> shown([[0.9, 0.1], [0.45, 0.55]], [1, 1], n=48).tolist()
    [0, 1]
    """
    lists = (
        most_wrong(probabilities, targets, n),
        least_certain(probabilities, n),
        likely_label_errors(probabilities, targets, n),
    )
    turns = [int(positions[turn]) for turn in range(n) for positions in lists if turn < len(positions)]
    return np.array(list(dict.fromkeys(turns))[:n], dtype=np.int64)
