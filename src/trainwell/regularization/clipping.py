"""Clipped gradients: a step that would be far too long keeps its direction and loses its length.

Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", arXiv:1211.5063.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from trainwell.errors import OptionInvalid


@torch.no_grad()
def clip_gradient_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients down together, in place, so that their joint 2-norm is at most max_norm.

        g *= min(1, max_norm / |g|),      |g| = sqrt(sum of squares over all parameters)

    Gradients within the bound keep every bit. Difference from torch's `clip_grad_norm_`: no 1e-6 is
    added to the norm. A NaN in any gradient makes all of them NaN.

    Args:
        params: parameters of one device; those without gradient are left alone.
        max_norm: the bound, above 0.

    Returns:
        The norm before clipping, 0-d, on the device of the gradients: nothing waits for it.

    Raises:
        OptionInvalid: max_norm is not a number above 0.

    >>> weight = torch.zeros(2, requires_grad=True)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradient_norm([weight], 1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    if not max_norm > 0 or math.isinf(max_norm):
        raise OptionInvalid(f"max_norm must be a number > 0, got {max_norm!r}: usual are 0.5 to 5")
    gradients = [parameter.grad for parameter in params if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_mul_(gradients, (max_norm / norm).clamp_(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
    return norm
