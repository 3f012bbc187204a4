"""Stochastic gradient descent with momentum and Nesterov's look-ahead.

Source: Polyak 1964 (momentum); Sutskever et al. 2013, "On the importance of initialization and
momentum in deep learning", equations 3-4 (Nesterov).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, ProperFraction, Rate
from trainwell.errors import OptionInvalid
from trainwell.optimizers.direct import DirectSGD
from trainwell.optimizers.fused import can_fuse, guard, is_on_cpu, start_velocities
from trainwell.optimizers.parameters import Carded, Parameters, listed


@optimizers.card(source="Polyak 1964; Sutskever et al. 2013, On the importance of initialization and momentum, eq. 3-4")
@checked
def sgd(
    params: Parameters,
    *,
    lr: Rate = 0.1,
    momentum: ProperFraction = 0.9,
    nesterov: bool = True,
    weight_decay: Amount = 5e-4,
    maximize: bool = False,
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
        maximize: climb instead of descend.

    Returns:
        torch's own SGD, in its fused form where devices and types allow, on the CPU with its lists kept
        (optimizers/direct.py).

    Raises:
        OptionInvalid: nesterov with momentum 0.

    Costs one copy of the weights. Wants a rate schedule; less forgiving of badly scaled layers than AdamW.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> weight.grad = torch.tensor([1.0])
    >>> sgd([weight], lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0).step(); weight.item()
    0.5
    """
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "maximize": maximize}
    return torchs_sgd(listed(params, sgd), sgd, lr=lr, **options)


def refuse_blind_nesterov(parts: list[Any], *, owner: str, momentum: float, nesterov: bool) -> list[Any]:
    """Return the parts, and refuse to look ahead where there is no velocity, in the options or in a group's own.

    Raises:
        OptionInvalid: nesterov with momentum 0, or dampening.
    """
    own = [part for part in parts if isinstance(part, dict)] or [{}]
    for group in own:
        if group.get("nesterov", nesterov) and group.get("momentum", momentum) == 0:
            raise OptionInvalid(
                f"{owner}:nesterov looks ahead along the velocity, and with momentum=0 there is none: "
                "set momentum above 0 (usually 0.9), or nesterov=false"
            )
        if group.get("dampening"):
            raise OptionInvalid(
                f"{owner}:params: a group says dampening={group['dampening']!r}, which velocities that begin at zero"
                " would read in another way than torch's: leave it out; momentum_average is the average itself"
            )
    return parts


class CardedSGD(Carded, torch.optim.SGD):
    """torch's SGD, which holds later groups to the card."""


def torchs_sgd(groups: list[Any], builder: Callable[..., Any], *, lr: float, **options: Any) -> torch.optim.SGD:
    """Return torch's SGD over what `listed` gave, in the form that is quickest where the parameters are.

    Raises:
        OptionInvalid: nesterov with momentum 0.
    """
    momentum, nesterov = options["momentum"], options["nesterov"]
    seeing = partial(refuse_blind_nesterov, owner=builder.__name__, momentum=momentum, nesterov=nesterov)
    groups = seeing(groups)
    if is_on_cpu(groups):
        direct = DirectSGD(groups, lr=lr, fused=True, **options)
        direct.hold_to(builder, seeing)
        return direct
    optimizer = CardedSGD(groups, lr=lr, fused=can_fuse(groups) or None, **options)
    if any(group["momentum"] > 0 for group in optimizer.param_groups):
        start_velocities(optimizer)
    guard(optimizer)
    optimizer.hold_to(builder, seeing)
    return optimizer
