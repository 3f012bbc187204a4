"""What every loss has in common: scores (N, K) and targets in, one value per sample (N,) out.

Targets come in three forms. Class ids are (N,) int64. Numbers are (N, M) floats, one for each output. Labels, and the
soft or one-hot form of classes, are (N, K) floats from 0 to 1. A loss says on its card, in `tasks`, which tasks it is
meant for, and in `unit` what one of its values is.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainwell.errors import ShapeError

Criterion = Callable[[Tensor, Tensor], Tensor]


def check_class_targets(logits: Tensor, targets: Tensor) -> None:
    """Refuse scores that are not (N, K), and targets that are neither (N,) class ids nor (N, K) floats.

    Raises:
        ShapeError: names the shape and the cure.
    """
    _check_scores(logits)
    is_soft = targets.is_floating_point()
    expected = tuple(logits.shape) if is_soft else (logits.shape[0],)
    if tuple(targets.shape) != expected:
        cure = "soft targets need one number a class" if is_soft else "pass class ids, or soft targets as floats (N, K)"
        name = "(N, K)" if is_soft else "(N,)"
        raise ShapeError(f"targets must be {name} = {expected}, got {tuple(targets.shape)}: {cure}")
    if not is_soft and targets.dtype != torch.int64:
        raise ShapeError(f"class ids must be int64, got {targets.dtype}: convert them with .long()")


def one_number_each(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and targets as (N, K) floats of one type, float32 at least; class ids become one-hot.

    Targets (N,) of floats stand for (N, 1), and so do outputs (N,).

    Raises:
        ShapeError: they do not fit each other, or there are class ids for a single output.

    >>> one_number_each(torch.zeros(2, 3), torch.tensor([0, 2]))[1].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if targets.is_floating_point() and targets.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] == 1:
        targets = targets[:, None]
    if not targets.is_floating_point() and outputs.ndim == 2 and outputs.shape[1] == 1:
        raise ShapeError(
            f"targets for one output must be floats (N,) or (N, 1), got {targets.dtype}: convert them with .float();"
            " class ids need one score a class"
        )
    check_class_targets(outputs, targets)
    outputs = at_least_float32(outputs)
    if not targets.is_floating_point():
        return outputs, functional.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
    return outputs, targets.to(outputs.dtype)


def at_least_float32(scores: Tensor) -> Tensor:
    """Return scores of lower precision as float32, others as they are.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return scores.float() if torch.finfo(scores.dtype).bits < 32 else scores


def _check_scores(logits: Tensor) -> None:
    if logits.ndim != 2:
        raise ShapeError(
            f"logits must be (N, K), one row of class scores a sample, got {tuple(logits.shape)}: "
            "flatten or pool what the network returns"
        )
