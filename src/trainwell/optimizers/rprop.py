"""Rprop: a step size of each parameter's own, grown while the gradient keeps its sign and cut when it turns.

Source: Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm";
Igel & Hüsken 2000, "Improving the Rprop learning algorithm", for the names of its variants.
"""

from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Positive, Rate, Unit
from trainwell.errors import OptionInvalid
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.stepwise import Moments, Stepwise

Growth = Annotated[float, Gt(1), Unit("times")]
Cut = Annotated[float, Gt(0), Lt(1), Unit("times")]


class Sized(Stepwise):
    """What the variants share: a size and a sign for each number, and options that bound the sizes."""

    owner = ""  # the name on the shelf

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 1.0,
        first_step: Positive = 0.1,
        increase: Growth = 1.2,
        decrease: Cut = 0.5,
        smallest: Positive = 1e-6,
        largest: Positive = 50.0,
        maximize: bool = False,
    ) -> None:
        sizes = {"first_step": first_step, "smallest": smallest, "largest": largest}
        factors = {"increase": increase, "decrease": decrease}
        super().__init__(params, {"lr": lr, **sizes, **factors, "maximize": maximize})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the constructor refuses."""
        _check_sizes(self.owner, {**self.defaults, **param_group})
        super().add_param_group(param_group)

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Begin with first_step everywhere, and no gradient before."""
        return {
            "sign": torch.zeros_like(parameter, requires_grad=False),
            "size": torch.full_like(parameter, group["first_step"], requires_grad=False),
        }


@optimizers.card("rprop", source="Riedmiller & Braun 1993, figure 2 (Rprop+)", schedule="constant")
@checked
class Rprop(Sized):
    """Rprop of 1993: steps by the gradient's sign, taken back where the sign turns.

        g * g_before > 0    size = min(1.2 size, 50);     move = -lr size sign(g)
        g * g_before < 0    size = max(0.5 size, 1e-6);   move = minus the last move, and g counts as 0 from here
        g * g_before = 0    move = -lr size sign(g)
        theta += move                              size starts at 0.1, g_before at 0

    A turned sign says that a minimum was jumped over: the step is taken back and done again half as long, and because
    g is remembered as 0 the cut is not punished twice. This is what the literature calls Rprop+; torch, optax and
    `irprop_minus` do not take back. lr multiplies all new moves and leaves the sizes alone, so that schedules and
    groups act as on any other optimizer; 1 is the paper's. What is taken back is what was moved, whatever lr is now.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: factor on every move.
        first_step: size of every parameter's first step.
        increase: factor on the size where the sign stays.
        decrease: factor on the size where the sign turns.
        smallest: no size falls below it.
        largest: no size grows beyond it.
        maximize: climb instead of descend.

    Raises:
        OptionInvalid: first_step does not lie between smallest and largest.

    Costs three copies of the weights. Cures vanishing gradients and bad scaling without any tuning; wants the whole
    training set in each step: the noise of small batches turns signs and starves the sizes.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer, path = Rprop([weight]), []
    >>> for gradient in (3.0, 5.0, -1.0, -1.0):
    ...     weight.grad = torch.tensor([gradient])
    ...     optimizer.step()
    ...     path.append(round(weight.item(), 2))
    >>> path
    [-0.1, -0.22, -0.1, -0.04]
    """

    owner = "rprop"

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Begin with first_step everywhere, and no gradient and no move before."""
        return {**super().start(parameter, group), "move": torch.zeros_like(parameter, requires_grad=False)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move by the sign, or take the last move back where it turned."""
        moves = [state["move"] for state in states]
        for gradient, state, move in zip(gradients, states, moves, strict=True):
            turned = _resize(gradient, state, group)
            torch.where(turned, move.neg(), state["sign"].mul(state["size"]).mul_(-group["lr"]), out=move)
        torch._foreach_add_(parameters, moves)


@optimizers.card(
    "irprop_minus", source="Igel & Hüsken 2000, Improving the Rprop learning algorithm (iRprop-)", schedule="constant"
)
@checked
class IRpropMinus(Sized):
    """iRprop-: Rprop that stays where it is when the gradient's sign turns.

        g * g_before > 0    size = min(1.2 size, 50)
        g * g_before < 0    size = max(0.5 size, 1e-6);   g = 0
        theta -= lr * size * sign(g)               size starts at 0.1, g_before at 0

    Simpler than `rprop` and often as quick. torch.optim.Rprop and optax are this variant; theirs read the rate once,
    as the size of the first step, so that a schedule does nothing to them. Ours equals them at lr = 1, with their
    rate as first_step.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: factor on every move.
        first_step: size of every parameter's first step.
        increase: factor on the size where the sign stays.
        decrease: factor on the size where the sign turns.
        smallest: no size falls below it.
        largest: no size grows beyond it.
        maximize: climb instead of descend.

    Raises:
        OptionInvalid: first_step does not lie between smallest and largest.

    Costs two copies of the weights. Cures vanishing gradients and bad scaling without any tuning; wants the whole
    training set in each step.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer, path = IRpropMinus([weight]), []
    >>> for gradient in (3.0, 5.0, -1.0, -1.0):
    ...     weight.grad = torch.tensor([gradient])
    ...     optimizer.step()
    ...     path.append(round(weight.item(), 2))
    >>> path
    [-0.1, -0.22, -0.22, -0.16]
    """

    owner = "irprop_minus"

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move by the sign, or stay where it turned."""
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            _resize(gradient, state, group)
            parameter.addcmul_(state["sign"], state["size"], value=-group["lr"])


def _resize(gradient: Tensor, state: Moments, group: dict[str, Any]) -> Tensor:
    """Grow and cut the sizes, remember the gradient's sign, as 0 where it turned, and return where it did.

    Signs are multiplied, not gradients: the product of two small ones is 0 in float32, and would hide a turn.
    """
    sign = gradient.sign()
    agreement = sign * state["sign"]
    turned: Tensor = agreement < 0
    factors = (
        torch.ones_like(sign).masked_fill_(agreement > 0, group["increase"]).masked_fill_(turned, group["decrease"])
    )
    state["size"].mul_(factors).clamp_(group["smallest"], group["largest"])
    state["sign"].copy_(sign.masked_fill_(turned, 0.0))
    return turned


def _check_sizes(owner: str, group: dict[str, Any]) -> None:
    if not group["smallest"] <= group["first_step"] <= group["largest"]:
        raise OptionInvalid(
            f"{owner}:first_step must lie between smallest and largest, {group['smallest']} and {group['largest']}, got"
            f" {group['first_step']}"
        )
