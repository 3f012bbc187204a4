"""What probabilities and targets must be before anything is measured on them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.errors import DataInvalid, ShapeError

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

SUM_TOLERANCE = 1e-3  # rounding each number to float16 moves a sum by at most 5e-4


def checked_probabilities(probabilities: ArrayLike) -> Floats:
    """Return probabilities as an (N, K) float array.

    Raises:
        ShapeError: not (N, K) with N >= 1 and K >= 2.
        DataInvalid: a value is NaN, infinite or negative, or a row does not sum to 1.
    """
    array = np.asarray(probabilities)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ShapeError(
            f"probabilities must be (N, K), a row for each of at least one sample and a column for each of at least"
            f" two classes, got {array.shape}: pass the softmax of a network's scores"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise DataInvalid(f"probabilities must be floats in [0, 1], got {array.dtype}: pass the softmax of the scores")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    sums = array.sum(axis=1, dtype=np.float64)
    if not np.isfinite(sums).all():
        row = int(np.argmin(np.isfinite(sums)))
        raise DataInvalid(
            f"probabilities must be finite, but row {row} holds NaN or Inf: the network's scores were not"
            " finite for this sample; look at its input"
        )
    wrong = (np.abs(sums - 1) > SUM_TOLERANCE) | (array.min(axis=1) < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataInvalid(
            f"each row of probabilities must be numbers of at least 0 that sum to 1 within {SUM_TOLERANCE}, but row"
            f" {row} has the smallest number {array[row].min():.6g} and the sum {sums[row]:.6g}: take the softmax of"
            " the scores first"
        )
    return array


def checked(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, Integers]:
    """Return probabilities as an (N, K) float array and targets as an (N,) int64 array.

    Raises:
        ShapeError: probabilities is not (N, K), or targets is not (N,).
        DataInvalid: a probability is not one (see `checked_probabilities`), or a target is no class id.
    """
    floats = checked_probabilities(probabilities)
    return floats, checked_targets(targets, *floats.shape)


def checked_scores(scores: ArrayLike) -> Floats:
    """Return raw scores as an (N, K) float array.

    Raises:
        ShapeError: not (N, K) with N >= 1 and K >= 2.
        DataInvalid: a score is NaN or infinite.
    """
    array = np.asarray(scores)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ShapeError(
            f"scores must be (N, K), a row for each of at least one sample and a column for each of at least two"
            f" classes, got {array.shape}: pass what the network returns"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise DataInvalid(f"scores must be floats, got {array.dtype}: pass what the network returns")
    is_finite = np.isfinite(array).all(axis=1)
    if not is_finite.all():
        raise DataInvalid(
            f"scores must be finite, but row {int(np.argmin(is_finite))} holds NaN or Inf: look at the input of this"
            " sample; of probabilities that may be 0, the logarithm is no score"
        )
    return array


def checked_targets(targets: ArrayLike, count: int, classes: int) -> Integers:
    """Return targets as a (count,) int64 array.

    Raises:
        ShapeError: targets is not (count,).
        DataInvalid: a target is no class id in [0, classes).
    """
    ids = np.asarray(targets)
    if ids.shape != (count,):
        raise ShapeError(f"targets must be (N,) = ({count},), got {ids.shape}: pass one class id a sample")
    if not np.issubdtype(ids.dtype, np.integer):
        raise DataInvalid(f"targets must be integer class ids, got {ids.dtype}: pass positions in the list of classes")
    outside = (ids < 0) | (ids >= classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataInvalid(
            f"targets must be class ids in [0, {classes}), but target {row} is {int(ids[row])}: number the classes"
            " in the order of the columns of the probabilities"
        )
    return ids.astype(np.int64)


def checked_labels(probabilities: ArrayLike, targets: ArrayLike, size: int) -> tuple[Floats, Integers]:
    """Return probabilities of labels as an (N, K) float array and targets as an (N, K) int64 array of 0 and 1.

    Raises:
        ShapeError: one of them is not (N, K) with N >= 1.
        DataInvalid: a probability is outside [0, 1] or NaN, or a target is neither 0 nor 1.
    """
    floats, truths = np.asarray(probabilities), np.asarray(targets)
    if floats.ndim != 2 or not len(floats) or floats.shape[1] != size or truths.shape != floats.shape:
        raise ShapeError(
            f"probabilities and targets of labels must both be (N, {size}), one column a label, got {floats.shape} and"
            f" {truths.shape}"
        )
    if not np.issubdtype(floats.dtype, np.floating) or not ((floats >= 0) & (floats <= 1)).all():
        raise DataInvalid("probabilities of labels must be floats from 0 to 1: pass the sigmoid of a network's scores")
    if not ((truths == 0) | (truths == 1)).all():
        raise DataInvalid("targets of labels must be 0 or 1: write 1 where a label is true")
    return floats, truths.astype(np.int64)
