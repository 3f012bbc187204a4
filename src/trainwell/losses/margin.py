"""Hinge losses: the right class shall score higher than every other by a margin, and more than that is no gain.

Source: Weston & Watkins 1999, "Support vector machines for multi-class pattern recognition".
"""

from functools import partial

import torch
from torch import Tensor

from trainwell.core.shelves import losses
from trainwell.core.units import Positive
from trainwell.losses.criterion import Criterion, at_least_float32, check_class_targets

SOURCE = "Weston & Watkins 1999, Support vector machines for multi-class pattern recognition"


@losses.card(source=SOURCE, tasks=("classes",), unit="scores")
def hinge(*, margin: Positive = 1.0) -> Criterion:
    """Multi-class hinge of Weston and Watkins: the sum over the other classes of how far they come into the margin.

    Samples that are right by the margin teach nothing any more, so the scores are no probabilities. It is the sum over
    all other classes, not the largest of them (Crammer and Singer), and not one against the rest.

    Args:
        margin: by how much the right class must lead; with weight decay only its ratio to the weights counts.

    Returns:
        `sum_of_hinges` with that margin: (scores (N, K), targets) -> (N,).

    >>> hinge()(torch.tensor([[3.2, 5.1, -1.7]]), torch.tensor([0]))
    tensor([2.9000])
    """
    return partial(sum_of_hinges, margin=margin)


@losses.card(source=SOURCE, tasks=("classes",), unit="squared scores")
def squared_hinge(*, margin: Positive = 1.0) -> Criterion:
    """Multi-class hinge whose parts are squared: smooth at the margin, and harder on the worst offenders.

    Args:
        margin: by how much the right class must lead.

    Returns:
        `sum_of_squared_hinges` with that margin: (scores (N, K), targets) -> (N,).

    >>> squared_hinge()(torch.tensor([[1.0, 2.0, -5.0]]), torch.tensor([0]))
    tensor([4.])
    """
    return partial(sum_of_squared_hinges, margin=margin)


def sum_of_hinges(scores: Tensor, targets: Tensor, *, margin: float = 1.0) -> Tensor:
    """Return the sum over the other classes of the hinge, one value per sample.

        loss_n = sum_{j != y} max(0, s_nj - s_ny + margin)

    The gradient at a kink is 0. For soft targets q it is the mean over the classes y, each as probable as q_ny.

    Args:
        scores: (N, K) raw scores.
        targets: (N,) int64 class ids, or (N, K) soft targets that sum to 1.
        margin: above 0.

    Returns:
        (N,) losses in units of the scores, not averaged over samples.

    Raises:
        ShapeError: scores are not (N, K), or targets are neither (N,) ids nor (N, K) numbers.
    """
    return _over_others(_excesses(scores, targets, margin).relu(), targets)


def sum_of_squared_hinges(scores: Tensor, targets: Tensor, *, margin: float = 1.0) -> Tensor:
    """Return the sum over the other classes of the squared hinge, one value per sample.

        loss_n = sum_{j != y} max(0, s_nj - s_ny + margin)^2

    Args and errors: see `sum_of_hinges`.
    """
    return _over_others(_excesses(scores, targets, margin).relu().square(), targets)


def _excesses(scores: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Return s_nj - s_ny + margin: (N, K) over j for class ids, (N, K, K) over y and j for soft targets."""
    check_class_targets(scores, targets)
    scores = at_least_float32(scores)
    if targets.is_floating_point():
        return scores[:, None, :] - scores[:, :, None] + margin  # (N, K) -> (N, y, j)
    return scores - scores.gather(1, targets[:, None]) + margin


def _over_others(each: Tensor, targets: Tensor) -> Tensor:
    """Sum over j != y; for soft targets also take the mean over y."""
    if not targets.is_floating_point():
        return each.scatter(1, targets[:, None], 0.0).sum(1)
    is_own = torch.eye(each.shape[1], dtype=torch.bool, device=each.device)
    others = each.masked_fill(is_own, 0.0).sum(2)  # (N, y, j) -> (N, y)
    return (others * targets.to(others.dtype)).sum(1)
