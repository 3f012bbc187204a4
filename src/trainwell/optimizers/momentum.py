"""The family of gradient descent: plain, with momentum as a velocity, as a moving average, and Nesterov's.

Source: Polyak 1964 (momentum); Sutskever et al. 2013, "On the importance of initialization and momentum in deep
learning", equations 1-4.
"""

from typing import Any

import torch
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, ProperFraction, Rate
from trainwell.optimizers.parameters import Parameters, listed
from trainwell.optimizers.sgd import torchs_sgd
from trainwell.optimizers.stepwise import Moments, Stepwise


@optimizers.card(source="Cauchy 1847; Robbins & Monro 1951 (with samples)")
@checked
def gradient_descent(
    params: Parameters, *, lr: Rate = 0.1, weight_decay: Amount = 0.0, maximize: bool = False
) -> torch.optim.SGD:
    """Gradient descent: a step against the gradient, lr times as long; stochastic where batches are samples.

        theta -= lr * (gradient + weight_decay * theta)

    In a bowl of curvature h it converges for lr < 2 / h, in one step for lr = 1 / h; the steepest direction sets the
    limit and the flattest then takes long, so the error falls by (kappa - 1) / (kappa + 1) a step at best.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        weight_decay: strength of the L2 penalty.
        maximize: climb instead of descend.

    Returns:
        torch's own SGD without momentum.

    Costs no memory. What every other optimizer is compared with.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> weight.grad = torch.tensor([1.0])
    >>> gradient_descent([weight], lr=0.5).step(); weight.item()
    0.5
    """
    options = {"momentum": 0.0, "nesterov": False, "weight_decay": weight_decay, "maximize": maximize}
    return torchs_sgd(listed(params, gradient_descent), gradient_descent, lr=lr, **options)


@optimizers.card(source="Sutskever et al. 2013, On the importance of initialization and momentum, equations 3-4")
@checked
def nesterov(
    params: Parameters,
    *,
    lr: Rate = 0.05,
    momentum: ProperFraction = 0.9,
    weight_decay: Amount = 0.0,
    maximize: bool = False,
) -> torch.optim.SGD:
    """Nesterov's accelerated gradient: the gradient is taken where the velocity is about to lead.

        v = momentum * v - lr * gradient(theta + momentum * v);  theta += v            as published
        v = momentum * v + g;  theta -= lr * (g + momentum * v)                        as computed

    The second form, torch's, keeps the look-ahead point theta + momentum * v in the place of theta, so that the
    gradient is always that of the weights; for a constant lr both walk the same look-ahead points exactly. Where lr
    changes, it acts on the whole velocity at once, as in `sgd`.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        momentum: share of the velocity that survives a step; above 0.
        weight_decay: strength of the L2 penalty.
        maximize: climb instead of descend.

    Returns:
        torch's own SGD with nesterov=True.

    Raises:
        OptionInvalid: momentum is 0.

    Costs one copy of the weights. Cures the overshooting of momentum in steep directions.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> weight.grad = torch.tensor([1.0])
    >>> nesterov([weight], lr=0.25, momentum=0.5).step(); weight.item()
    0.625
    """
    options = {"momentum": momentum, "nesterov": True, "weight_decay": weight_decay, "maximize": maximize}
    return torchs_sgd(listed(params, nesterov), nesterov, lr=lr, **options)


@optimizers.card("momentum", source="Polyak 1964; Sutskever et al. 2013, equations 1-2", keeps="momentum")
@checked
class Momentum(Stepwise):
    """Momentum in the physical form: the weights have a velocity, which the gradient accelerates and friction brakes.

        v = momentum * v - lr * (gradient + weight_decay * theta)          v starts at 0
        theta += v

    This is Sutskever's, scikit-learn's and Keras's form. torch keeps v without lr and multiplies both, so there a
    change of lr acts on all that was gathered before; here it acts on the new gradient alone. For a constant lr both
    are the same. On a constant gradient the velocity ends at -lr / (1 - momentum) * gradient.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        momentum: share of the velocity that survives a step; 1 - momentum is the friction.
        weight_decay: strength of the L2 penalty.
        maximize: climb instead of descend.

    Costs one copy of the weights. Cures slow travel along ravines and the noise of small batches.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer = Momentum([weight], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     weight.grad = torch.tensor([1.0]); optimizer.step()
    >>> weight.item()                                                    # velocities -0.5 and -0.75
    -1.25
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 0.05,
        momentum: ProperFraction = 0.9,
        weight_decay: Amount = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize})

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Return a velocity of zero."""
        return {"velocity": torch.zeros_like(parameter, requires_grad=False)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Accelerate, then move by the velocity."""
        velocities = [state["velocity"] for state in states]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, _decayed(group, parameters, gradients), alpha=-group["lr"])
        torch._foreach_add_(parameters, velocities)


@optimizers.card("momentum_average", source="Kingma & Ba 2014, arXiv:1412.6980, the first moment of algorithm 1")
@checked
class MomentumAverage(Stepwise):
    """Momentum as a moving average of the gradient, corrected for its start at zero.

        m = beta * m + (1 - beta) * (gradient + weight_decay * theta)      m starts at 0
        theta -= lr * m / (1 - beta^t)

    The step is as long as with the plain gradient whatever beta is, so lr needs no change with it: lr here acts like
    lr * (1 - beta) in the other forms, once t is large. torch's `dampening` is another thing: it is left out at the
    first step, which starts the average at the first gradient with its full weight.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        beta: share of the average that survives a step; it remembers about 1 / (1 - beta) gradients.
        weight_decay: strength of the L2 penalty.
        maximize: climb instead of descend.

    Costs one copy of the weights. Cures the noise of small batches.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer = MomentumAverage([weight], lr=0.5)
    >>> for _ in range(2):
    ...     weight.grad = torch.tensor([1.0]); optimizer.step()
    >>> round(weight.item(), 4)                                          # an average of ones is one
    -1.0
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 0.1,
        beta: ProperFraction = 0.9,
        weight_decay: Amount = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay, "maximize": maximize})

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Return an average of zero, and that nothing was averaged."""
        return {"step": 0, "average": torch.zeros_like(parameter, requires_grad=False)}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Average, then move against the corrected average."""
        beta, averages = group["beta"], [state["average"] for state in states]
        torch._foreach_lerp_(averages, _decayed(group, parameters, gradients), 1 - beta)
        for state in states:
            state["step"] += 1
        rates = [-group["lr"] / (1 - beta ** state["step"]) for state in states]
        torch._foreach_add_(parameters, list(torch._foreach_mul(averages, rates)))


def _decayed(group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
    """Return the gradients with that of the L2 penalty."""
    if group["weight_decay"] == 0:
        return gradients
    return list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
