"""Cross-entropy of the softmax: what a classifier of exclusive classes minimizes.

Source: Good 1952 (logarithmic score); Szegedy et al. 2016, arXiv:1512.00567, section 7 (label smoothing).
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainwell.core.shelves import losses
from trainwell.core.units import ProperFraction
from trainwell.losses.criterion import Criterion, check_class_targets

NO_LABEL_IS_IGNORED = -(2**63)  # torch would give label -100 a loss of 0 without a word


@losses.card(source="Good 1952; Szegedy et al. 2016, arXiv:1512.00567, section 7", tasks=("classes",), unit="nats")
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
    check_class_targets(logits, targets)
    if torch.finfo(logits.dtype).bits < 32:
        logits = logits.float()
    if is_soft:
        return functional.cross_entropy(logits, targets.to(logits.dtype), reduction="none", label_smoothing=smoothing)
    return functional.cross_entropy(
        logits, targets, reduction="none", label_smoothing=smoothing, ignore_index=NO_LABEL_IS_IGNORED
    )
