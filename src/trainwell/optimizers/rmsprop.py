"""RMSprop: steps divided by the root of the mean squared gradient of late.

Source: Tieleman & Hinton 2012, "Neural networks for machine learning", lecture 6e, slide 29.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Positive, ProperFraction, Rate
from trainwell.errors import OptionInvalid
from trainwell.optimizers.adaptive import dense_only
from trainwell.optimizers.parameters import Carded, Parameters, listed
from trainwell.optimizers.stepwise import Moments, Stepwise
from trainwell.optimizers.torch_words import in_torch_words


@optimizers.card(source="Tieleman & Hinton 2012, Neural networks for machine learning, lecture 6e, slide 29")
@checked
def rmsprop(
    params: Parameters,
    *,
    lr: Rate = 1e-3,
    beta: ProperFraction = 0.9,
    eps: Positive = 1e-8,
    eps_inside: bool = False,
    weight_decay: Amount = 0.0,
    maximize: bool = False,
) -> torch.optim.Optimizer:
    """RMSprop: the gradient over the root of its mean square, a mean that forgets.

        g = gradient + weight_decay * theta
        v = beta * v + (1 - beta) * g^2            v starts at 0
        theta -= lr * g / (sqrt(v) + eps)          with eps_inside, lr * g / sqrt(v + eps)

    v starts at 0 and is not corrected for it, so the first step is lr / sqrt(1 - beta) long: 3.2 lr. The lecture has
    no eps at all, and implementations put it in different places: outside the root torch, inside it Keras and, by
    default, optax; the same number means sqrt(eps) there, so 1e-8 outside is like 1e-16 inside. TensorFlow 1 also
    starts v at 1 and multiplies by lr inside its momentum. beta is the .9 of the lecture; torch calls it alpha, .99.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        beta: share of the mean square that survives a step.
        eps: keeps the quotient finite.
        eps_inside: add eps to the mean square, not to its root.
        weight_decay: strength of the L2 penalty, whose gradient is added to g.
        maximize: climb instead of descend.

    Returns:
        torch's own RMSprop; with eps_inside, ours.

    Raises:
        OptionInvalid: a group says another eps_inside than the rest.

    Costs one copy of the weights. Cures gradients of unequal scale, also such that change in the course of training;
    follows the noise of small batches.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3])
    >>> rmsprop([weight], lr=0.25, beta=0.75).step(); weight.detach().round(decimals=4)
    tensor([0.5000, 1.5000])
    """
    parts = refuse_other_forms(listed(params, rmsprop), eps_inside=eps_inside)
    if eps_inside:
        defaults = {"lr": lr, "beta": beta, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        return InsideRoot(parts, defaults)
    in_words = partial(_in_words, beta=beta)
    optimizer = CardedRMSprop(
        in_words(parts), lr=lr, alpha=beta, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=True
    )
    optimizer.register_step_pre_hook(dense_only)
    optimizer.hold_to(rmsprop, in_words)
    return optimizer


def refuse_other_forms(parts: list[Any], *, eps_inside: bool) -> list[Any]:
    """Return the parts that `listed` gave, and refuse a group that says another eps_inside than the rest.

    Raises:
        OptionInvalid: a group does.
    """
    if any(isinstance(part, dict) and part.get("eps_inside", eps_inside) != eps_inside for part in parts):
        raise OptionInvalid(
            f"rmsprop:eps_inside holds for all groups: it is {str(eps_inside).lower()}, and a group says otherwise:"
            " leave it out of the group, or make two optimizers"
        )
    return parts


def _in_words(parts: list[Any], *, beta: float) -> list[Any]:
    """Return the groups of the form with eps outside in torch's words."""
    return in_torch_words(refuse_other_forms(parts, eps_inside=False), {"alpha": ("beta",)}, {"beta": beta}, rmsprop)


class CardedRMSprop(Carded, torch.optim.RMSprop):
    """torch's RMSprop, which holds later groups to the card."""


class InsideRoot(Stepwise):
    """RMSprop with eps inside the root; made by `rmsprop(params, eps_inside=True)`."""

    @property
    def builder(self) -> Callable[..., Any]:
        """The card's function."""
        return rmsprop

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the card refuses."""
        super().add_param_group(*refuse_other_forms([param_group], eps_inside=True))

    def start(self, parameter: Tensor, group: Moments) -> Moments:
        """Begin the mean square at 0."""
        return {"square": torch.zeros_like(parameter, requires_grad=False)}

    def update(self, group: Moments, parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]) -> None:
        """Move by lr * g / sqrt(v + eps)."""
        squares = [state["square"] for state in states]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["beta"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["beta"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])
