"""Conjugate gradients: solves A x = b with products of A alone, and stops where the quadratic hardly falls any more.

    phi(x) = x^T A x / 2 - b^T x        which is least where A x = b

Source: Hestenes & Stiefel 1952; Martens 2010, "Deep learning via Hessian-free optimization", sections 4.4 and 4.6 (the
stop by relative progress, and the iterates that are kept).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

KEPT_RATIO = 1.3
LEAST_LOOK_BACK, LOOK_BACK_SHARE = 10, 0.1


@dataclass(frozen=True)
class Solution:
    """What conjugate gradients found.

    Attributes:
        iterates: (iteration, x, phi(x)) of the iterations ceil(1.3^j) and of the last one, in order; the last is best.
        iterations: how many were done; `products`: of A with a vector, one more where x began elsewhere than at 0.
        reason: why it ended: `progress`, `solved`, `most` or `downwards`, where A bends downwards along a direction.
    """

    iterates: tuple[tuple[int, Tensor, float], ...]
    iterations: int
    products: int
    reason: str

    @property
    def x(self) -> Tensor:
        """The last iterate, (P,)."""
        return self.iterates[-1][1]


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    start: Tensor | None = None,
    preconditioner: Tensor | None = None,
    most: int = 250,
    tolerance: float = 5e-4,
) -> Solution:
    """Return the last and some earlier iterates of preconditioned conjugate gradients.

        stop at i > k where phi_i < 0 and (phi_i - phi_{i-k}) / phi_i < k tolerance,     k = max(10, i / 10)

    It also stops where the residual is rounding. Waits for the device once an iteration. Difference to other
    implementations: the progress is relative to phi_i itself, with the factor k, as printed.

    Args:
        product: x -> A x, with A symmetric and positive definite.
        b: right side, (P,).
        start: first iterate, (P,); 0 where it is None.
        preconditioner: diagonal of M, (P,), above 0; steps are conjugate in M^(-1/2) A M^(-1/2).
        most: iterations at most.
        tolerance: progress an iteration that is still worth one; 0 goes on until the residual is rounding.

    >>> A = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradient(lambda v: A @ v, torch.tensor([1.0, 2.0])).x
    tensor([0.0909, 0.6364])
    """
    x = torch.zeros_like(b) if start is None else start.clone()
    residual = b.clone() if start is None else b - product(x)
    rounding = torch.finfo(b.dtype).eps * float(b.norm())
    phis = [_phi(x, residual, b)]
    iterates: list[tuple[int, Tensor, float]] = []
    reason, iteration = "most", 0
    solved = residual if preconditioner is None else residual / preconditioner
    direction, size = solved.clone(), float(residual @ solved)
    while iteration < most:
        if float(residual.norm()) <= rounding:
            reason = "solved"
            break
        bent = product(direction)
        curvature = float(direction @ bent)
        if not curvature > 0:  # also where it is NaN
            reason = "downwards"
            break
        iteration += 1
        x.add_(direction, alpha=size / curvature)
        residual.sub_(bent, alpha=size / curvature)
        phis.append(_phi(x, residual, b))
        if _is_kept(iteration):
            iterates.append((iteration, x.clone(), phis[-1]))
        if _has_stalled(phis, tolerance):
            reason = "progress"
            break
        solved = residual if preconditioner is None else residual / preconditioner
        before, size = size, float(residual @ solved)
        direction.mul_(size / before).add_(solved)
    if not iterates or iterates[-1][0] != iteration:
        iterates.append((iteration, x, phis[-1]))
    return Solution(tuple(iterates), iteration, iteration + (start is not None) + (reason == "downwards"), reason)


def _phi(x: Tensor, residual: Tensor, b: Tensor) -> float:
    """x^T A x / 2 - b^T x, with A x = b - residual."""
    return -0.5 * float(x @ (residual + b))


def _has_stalled(phis: list[float], tolerance: float) -> bool:
    i = len(phis) - 1
    k = max(LEAST_LOOK_BACK, math.ceil(LOOK_BACK_SHARE * i))
    return i > k and phis[i] < 0 and (phis[i] - phis[i - k]) / phis[i] < k * tolerance


def _is_kept(iteration: int) -> bool:
    """Whether an iteration is one of ceil(1.3^j).

    >>> [iteration for iteration in range(1, 20) if _is_kept(iteration)]
    [1, 2, 3, 4, 5, 7, 9, 11, 14, 18]
    """
    return any(math.ceil(KEPT_RATIO**j) == iteration for j in range(iteration.bit_length() * 3))
