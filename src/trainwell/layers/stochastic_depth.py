"""Stochastic depth: in training a residual unit is left out now and then, and only its skip remains.

    training     y = x' + b f(x)      b = 1 with probability p, else 0
    evaluation   y = x' + p f(x)

b is drawn once for a whole mini-batch, as published, and then the branch is not even computed; or once for each
sample, which costs the full time and varies less from step to step. Survival falls linearly from the first unit to the
last, p_l = 1 - (l / L) (1 - p_L): with p_L = 1/2 a step has (3 L - 1) / 4 units on average.

Source: Huang et al. 2016, "Deep networks with stochastic depth", arXiv:1603.09382, section 3.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from trainwell.errors import OptionInvalid

Drop = Literal["batch", "sample"]


class StochasticDepth(nn.Module):
    """The chance of one residual branch; draws come from torch's own generators, as those of dropout.

    Unlike others (timm, torchvision), who divide by p in training, it multiplies by p in evaluation, as published. A
    branch that is left out leaves its weights without a gradient in that step (None, where it has none yet). A compiled
    network, whose graph cannot branch by chance, computes every branch and multiplies it by b: the scores are the same,
    the time is not, and such gradients are zeros.

    Args:
        survival: p, in (0, 1].
        drop: whether b is drawn for the batch or for each sample.

    Raises:
        OptionInvalid: survival is no such share, or drop neither.

    >>> StochasticDepth(0.8).eval()(torch.ones(1))
    tensor([0.8000])
    """

    def __init__(self, survival: float, drop: Drop = "batch") -> None:
        super().__init__()
        if not 0 < survival <= 1:
            raise OptionInvalid(
                f"survival must be a share above 0 up to 1, got {survival}: it is what stays, not what goes"
            )
        if drop not in ("batch", "sample"):
            raise OptionInvalid(f"drop must be 'batch' or 'sample', got {drop!r}: for what is drawn together")
        self.survival, self.drop = survival, drop

    def leaves_out(self) -> bool:
        """Draw whether the branch is left out for the whole batch; never in evaluation, nor in a compiled network."""
        if not self.training or self.drop == "sample" or torch.compiler.is_compiling():
            return False
        return torch.rand(()).item() >= self.survival

    def forward(self, branch: Tensor) -> Tensor:
        """Return what is added to the skip, of a branch (N, ...) that was not left out."""
        if not self.training:
            return branch * self.survival
        if self.drop == "batch" and not torch.compiler.is_compiling():
            return branch
        count = 1 if self.drop == "batch" else len(branch)
        kept = torch.rand(count, *[1] * (branch.ndim - 1), device=branch.device) < self.survival
        return branch * kept.to(branch.dtype)

    def extra_repr(self) -> str:
        """Say the options."""
        return f"{self.survival:g}, drop={self.drop!r}"


def linear_survival(units: int, last: float) -> tuple[float, ...]:
    """Return p_l = 1 - (l / L) (1 - p_L) of units l = 1 to L.

    >>> linear_survival(4, 0.5)
    (0.875, 0.75, 0.625, 0.5)
    """
    return tuple(1 - unit / units * (1 - last) for unit in range(1, units + 1))
