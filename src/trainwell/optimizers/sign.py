"""Steps of one length against the sign of the gradient.

Source: Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
of which this is the rule without its adaptation; Bernstein et al. 2018, "signSGD", arXiv:1802.04434.
"""

from typing import Any

import torch
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Rate
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.stepwise import Moments, Stepwise


@optimizers.card("gradient_sign", source="Bernstein et al. 2018, arXiv:1802.04434, algorithm 1 (signSGD)")
@checked
class GradientSign(Stepwise):
    """Steps of length lr against the sign of the gradient, whatever its size.

        theta -= lr * sign(g)                      sign(0) = 0

    Ends in a jitter of width lr around a minimum unless a schedule lowers it. With small batches it follows the most
    frequent sign, not the mean: nine gradients of 0.1 and one of -0.9 cancel, and their signs move it by 8 lr.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: length of each parameter's step.
        maximize: climb instead of descend.

    Costs no memory. Cures vanishing gradients of whole layers; wants large batches and a schedule.

    >>> weight = torch.ones(3, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3, 0.0])
    >>> GradientSign([weight], lr=0.25).step(); weight.detach()
    tensor([0.7500, 1.2500, 1.0000])
    """

    def __init__(self, params: Parameters, *, lr: Rate = 1e-3, maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "maximize": maximize})

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Return nothing: a sign has no memory."""
        return {}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move by lr against the sign."""
        torch._foreach_add_(parameters, list(torch._foreach_sign(gradients)), alpha=-group["lr"])
