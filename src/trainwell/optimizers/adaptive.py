"""Optimizers that give each parameter its own step size from the history of its gradient.

Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization", arXiv:1711.05101.
"""

import torch

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Positive, ProperFraction, Rate
from trainwell.optimizers.fused import can_fuse, guard
from trainwell.optimizers.parameters import Parameters, listed


@optimizers.card(source="Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2")
@checked
def adamw(
    params: Parameters,
    *,
    lr: Rate = 1e-3,
    beta1: ProperFraction = 0.9,
    beta2: ProperFraction = 0.999,
    eps: Positive = 1e-8,
    weight_decay: Amount = 0.05,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay: steps of about lr in every parameter, whatever its gradient's scale.

        theta *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g            m' = m / (1 - beta1^t)
        v = beta2 * v + (1 - beta2) * g^2          v' = v / (1 - beta2^t)
        theta -= lr * m' / (sqrt(v') + eps)

    Difference from the paper: decay is multiplied by lr (as in torch and optax), not by the
    schedule's multiplier alone, so a good weight_decay depends on lr.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        beta1: share of the mean gradient that survives a step.
        beta2: share of the mean squared gradient that survives a step.
        eps: keeps the quotient finite; larger makes the step more like that of momentum.
        weight_decay: share of the weight that is taken off at lr = 1.

    Returns:
        torch's own AdamW, in its fused form where devices and types allow.

    Costs two copies of the weights. Cures gradients of unequal scale; often wants warm-up.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3])
    >>> adamw([weight], lr=0.25, weight_decay=0.0).step(); weight.detach().round(decimals=4)
    tensor([0.7500, 1.2500])
    """
    groups = listed(params, adamw)
    optimizer = torch.optim.AdamW(
        groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=can_fuse(groups) or None
    )
    guard(optimizer)
    return optimizer
