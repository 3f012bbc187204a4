"""What training minimizes: one value per sample, never averaged inside, so that every sample can count as it should.

Source: Good 1952 (logarithmic score); Szegedy et al. 2016, arXiv:1512.00567, section 7 (label smoothing).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainwell.core.shelves import losses
from trainwell.core.units import ProperFraction
from trainwell.errors import DataInvalid, ShapeError

Criterion = Callable[[Tensor, Tensor], Tensor]

NO_LABEL_IS_IGNORED = -(2**63)  # torch would give label -100 a loss of 0 without a word


@losses.card(source="Good 1952; Szegedy et al. 2016, arXiv:1512.00567, section 7")
def cross_entropy(*, smoothing: ProperFraction = 0.0) -> Criterion:
    """Cross-entropy of the softmax, with optional label smoothing.

    Args:
        smoothing: share of each sample's target that is spread over all classes alike; curbs
            overconfidence, usually 0.1. The loss can then not reach 0.

    Returns:
        `smooth_cross_entropy` with that smoothing: (logits (N, K), targets) -> (N,).

    Class weights act outside, as the weight of each sample in the mean (`class_weights`).

    >>> cross_entropy()(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """
    return partial(smooth_cross_entropy, smoothing=smoothing)


def smooth_cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against targets softened towards uniform, one value per sample.

        q_n = (1 - s) * target_n + s / K           target_n: one-hot of the class id, or soft
        loss_n = -sum_k q_nk log softmax(logits_n)_k

    Computed in float32 at least. Whether ids lie in [0, K) is not looked at here, since that would
    wait for the device at every step: the data are checked once, when they are read. (On the CPU
    torch raises IndexError for such an id; on CUDA the process fails.)

    Args:
        logits: (N, K) raw scores.
        targets: (N,) int64 class ids in [0, K), or (N, K) soft targets that sum to 1.
        smoothing: s, in [0, 1).

    Returns:
        (N,) losses in nats, not averaged: the caller decides how much each sample counts.

    Raises:
        ShapeError: logits are not (N, K), or targets are neither (N,) ids nor (N, K) numbers.

    >>> smooth_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]))
    tensor([0.6931])
    """
    is_usual = targets.dtype is torch.int64 and logits.dtype is torch.float32
    if is_usual and logits.ndim == 2 and targets.ndim == 1 and len(targets) == len(logits):
        return functional.cross_entropy(  # met first: the checks below cost a tiny net 2 % of a step
            logits, targets, reduction="none", label_smoothing=smoothing, ignore_index=NO_LABEL_IS_IGNORED
        )
    is_soft = targets.is_floating_point()
    _check_shapes(logits, targets, is_soft=is_soft)
    if torch.finfo(logits.dtype).bits < 32:
        logits = logits.float()
    if is_soft:
        return functional.cross_entropy(logits, targets.to(logits.dtype), reduction="none", label_smoothing=smoothing)
    return functional.cross_entropy(
        logits, targets, reduction="none", label_smoothing=smoothing, ignore_index=NO_LABEL_IS_IGNORED
    )


def _check_shapes(logits: Tensor, targets: Tensor, *, is_soft: bool) -> None:
    if logits.ndim != 2:
        raise ShapeError(
            f"logits must be (N, K), one row of class scores a sample, got {tuple(logits.shape)}: "
            "flatten or pool what the network returns"
        )
    expected = tuple(logits.shape) if is_soft else (logits.shape[0],)
    if tuple(targets.shape) != expected:
        cure = "soft targets need one number a class" if is_soft else "pass class ids, or soft targets as floats (N, K)"
        name = "(N, K)" if is_soft else "(N,)"
        raise ShapeError(f"targets must be {name} = {expected}, got {tuple(targets.shape)}: {cure}")
    if not is_soft and targets.dtype != torch.int64:
        raise ShapeError(f"class ids must be int64, got {targets.dtype}: convert them with .long()")


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return the weight of each class that makes all classes count alike: "balanced" weights.

        w_k = N / (K * n_k)

    `class_weights(labels, K)[labels]` is then the weight of each sample; these average to 1, so the
    size of the loss and the best learning rate stay as they were.

    Args:
        labels: (N,) int64 class ids of the training split.
        num_classes: K.

    Returns:
        (K,) float32, on the labels' device.

    Raises:
        ShapeError: labels are not (N,) whole numbers.
        DataInvalid: an id is outside [0, K), or a class has no sample and so no weight.

    Source: King & Zeng 2001, "Logistic regression in rare events data".

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    if labels.ndim != 1 or labels.is_floating_point():
        raise ShapeError(f"labels must be (N,) whole numbers, got {tuple(labels.shape)} {labels.dtype}: pass class ids")
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise DataInvalid(
            f"labels must be class ids from 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}: "
            "number the classes from 0"
        )
    counts = torch.bincount(labels, minlength=num_classes)
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise DataInvalid(
            f"class {', '.join(map(str, empty))} of {num_classes} has no training sample, so no balanced weight: "
            "add samples, remove the class, or train without class weights"
        )
    return (len(labels) / (num_classes * counts.double())).float()
