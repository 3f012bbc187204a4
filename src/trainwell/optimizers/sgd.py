"""Stochastic gradient descent with momentum and Nesterov's look-ahead.

Source: Polyak 1964 (momentum); Sutskever et al. 2013, "On the importance of initialization and
momentum in deep learning", equations 3-4 (Nesterov).
"""

import torch

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, ProperFraction, Rate
from trainwell.errors import OptionInvalid
from trainwell.optimizers.fused import can_fuse, guard, start_velocities
from trainwell.optimizers.parameters import Parameters, listed


@optimizers.card(source="Polyak 1964; Sutskever et al. 2013, On the importance of initialization and momentum, eq. 3-4")
@checked
def sgd(
    params: Parameters,
    *,
    lr: Rate = 0.1,
    momentum: ProperFraction = 0.9,
    nesterov: bool = True,
    weight_decay: Amount = 5e-4,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, by default Nesterov's.

        g = gradient + weight_decay * theta
        v = momentum * v + g                       v starts at 0
        theta -= lr * (g + momentum * v)           with nesterov, else lr * v

    This is torch's form: the rate stands outside the velocity, so a change of lr acts on the whole
    velocity at once. Nesterov is the shifted form, exact for the look-ahead variable. Weight decay is
    the L2 kind, the gradient of (weight_decay / 2) * |theta|^2; groups that bring their own
    `weight_decay` keep it.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        momentum: share of the velocity that survives a step; 0 is plain gradient descent.
        nesterov: look ahead by one velocity; needs momentum above 0.
        weight_decay: strength of the L2 penalty.

    Returns:
        torch's own SGD, in its fused form where devices and types allow.

    Raises:
        OptionInvalid: nesterov with momentum 0.

    Costs one copy of the weights. Wants a rate schedule; less forgiving of badly scaled layers than AdamW.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> weight.grad = torch.tensor([1.0])
    >>> sgd([weight], lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0).step(); weight.item()
    0.5
    """
    if nesterov and momentum == 0:
        raise OptionInvalid(
            "sgd:nesterov looks ahead along the velocity, and with momentum=0 there is none: "
            "set momentum above 0 (usually 0.9), or nesterov=false"
        )
    groups = listed(params, sgd)
    optimizer = torch.optim.SGD(
        groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=can_fuse(groups) or None
    )
    if momentum > 0:
        start_velocities(optimizer)
    guard(optimizer)
    return optimizer
