"""Penalties on the size of the weights: the sum of their squares, or of their absolute values.

Source: Hoerl & Kennard 1970, "Ridge regression"; Tibshirani 1996, "Regression shrinkage and selection via the lasso".
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trainwell.core.shelves import penalties
from trainwell.core.units import Amount
from trainwell.optimizers.groups import parameter_groups

Penalty = Callable[[], Tensor]


@penalties.card(source="Hoerl & Kennard 1970, Ridge regression", of="weights")
def l2(model: nn.Module, *, strength: Amount = 1e-4, biases: bool = False) -> Penalty:
    """Half the sum of squared weights: pulls every weight towards 0 in proportion to its size.

        strength / 2 * sum theta^2

    With the factor 1/2 its gradient is strength * theta: for plain SGD it is weight decay of the same number. Not so
    for optimizers that scale gradients, such as Adam, where it pulls least on the weights with the largest gradients;
    decoupled weight decay does not. Costs one pass over the weights.

    Args:
        model: whose weights are meant, as they are at each call; frozen ones are left out.
        strength: usually 1e-5 to 1e-3.
        biases: whether biases and parameters of norms are pulled too, which weight decay never does.

    >>> net = nn.Linear(2, 1)
    >>> _ = net.requires_grad_(False).weight.copy_(torch.tensor([[3.0, 4.0]])), net.requires_grad_(True)
    >>> l2(net, strength=0.1)()
    tensor(1.2500, grad_fn=<MulBackward0>)
    """
    chosen = _chosen(model, biases=biases)
    return lambda: strength / 2 * _sum([weight.square().sum() for weight in chosen if weight.requires_grad])


@penalties.card(source="Tibshirani 1996, Regression shrinkage and selection via the lasso", of="weights")
def l1(model: nn.Module, *, strength: Amount = 1e-5, biases: bool = False) -> Penalty:
    """Sum of absolute weights: pulls every weight towards 0 by the same amount, so that useless ones end near 0.

        strength * sum |theta|

    Its gradient is strength * sign(theta), and 0 at 0 (the subgradient of least size). Steps cross 0 rather than end
    there: weights become small and not exactly 0. Costs one pass over the weights.

    Args:
        model: whose weights are meant, as they are at each call; frozen ones are left out.
        strength: usually 1e-6 to 1e-4.
        biases: whether biases and parameters of norms are pulled too, which weight decay never does.

    >>> net = nn.Linear(2, 1)
    >>> _ = net.requires_grad_(False).weight.copy_(torch.tensor([[3.0, -4.0]])), net.requires_grad_(True)
    >>> l1(net, strength=0.1)()
    tensor(0.7000, grad_fn=<MulBackward0>)
    """
    chosen = _chosen(model, biases=biases)
    return lambda: strength * _sum([weight.abs().sum() for weight in chosen if weight.requires_grad])


def _chosen(model: nn.Module, *, biases: bool) -> Sequence[nn.Parameter]:
    """Return the parameters that are pulled: those that weight decay pulls on, or all."""
    groups = parameter_groups(model)
    return [parameter for group in groups if biases or not group.get("is_exempt") for parameter in group["params"]]


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum() if terms else torch.zeros(())
