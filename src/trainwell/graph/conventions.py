"""How far two gradients are apart: the conventions in use, each with what its sizes mean.

Sources: cs231n, "Gradient checks" (max; its thresholds); the symmetric form with a sum is common in courses and with
norms in deeplearning.ai; torch.autograd.gradcheck (allclose); Caffe's GradientChecker (caffe).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Name = Literal["max", "sum", "norm", "allclose", "caffe"]
Grade = Literal["right", "plausible", "doubtful", "wrong", "not examined"]
ABSOLUTE, RELATIVE = 1e-5, 1e-3  # torch.autograd.gradcheck's atol and rtol


@dataclass(frozen=True)
class Convention:
    """A measure of the difference between an analytic gradient a and a numerical one n.

    Attributes:
        name: as an option.
        formula: as it is printed.
        error: (difference |a - n|, a, n) -> errors, all of one shape; 0/0 is 0.
        limits: the largest error that is right, plausible, doubtful; anything larger is wrong.
    """

    name: Name
    formula: str
    error: Callable[[Tensor, Tensor, Tensor], Tensor]
    limits: tuple[float, float, float]

    def grade(self, error: float) -> Grade:
        """Say what an error means.

        >>> CONVENTIONS["max"].grade(1e-9), CONVENTIONS["max"].grade(0.5)
        ('right', 'wrong')
        """
        grades: tuple[Grade, ...] = ("right", "plausible", "doubtful")
        within = (grade for grade, limit in zip(grades, self.limits, strict=True) if error <= limit)
        return next(within, "wrong")


def _ratio(difference: Tensor, size: Tensor) -> Tensor:
    return torch.where(difference == 0, 0.0, difference / size)


def _norms(difference: Tensor, analytic: Tensor, numerical: Tensor) -> Tensor:
    return _ratio(difference.norm(), analytic.norm() + numerical.norm()).expand(difference.shape)


_CS231N = (1e-7, 1e-4, 1e-2)
CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "max", "|a - n| / max(|a|, |n|)", lambda d, a, n: _ratio(d, torch.maximum(a.abs(), n.abs())), _CS231N
        ),
        Convention("sum", "|a - n| / (|a| + |n|)", lambda d, a, n: _ratio(d, a.abs() + n.abs()), _CS231N),
        Convention("norm", "||a - n|| / (||a|| + ||n||)", _norms, _CS231N),
        Convention(
            "allclose",
            f"|a - n| / ({ABSOLUTE:g} + {RELATIVE:g} |n|)",
            lambda d, a, n: _ratio(d, ABSOLUTE + RELATIVE * n.abs()),
            (1.0, 1.0, 1.0),
        ),
        Convention(
            "caffe",
            "|a - n| / max(|a|, |n|, 1)",
            lambda d, a, n: _ratio(d, torch.maximum(a.abs(), n.abs()).clamp(min=1)),
            (1e-3, 1e-3, 1e-3),
        ),
    )
}
