"""Optimizers that give each parameter its own step size from the history of its gradient.

Source: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods", JMLR 12; Kingma & Ba 2014, "Adam",
arXiv:1412.6980; Loshchilov & Hutter 2019, "Decoupled weight decay regularization", arXiv:1711.05101.
"""

from functools import partial
from typing import Any

import torch

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Positive, ProperFraction, Rate
from trainwell.optimizers.direct import DirectAdamW
from trainwell.optimizers.fused import can_fuse, guard, is_on_cpu
from trainwell.optimizers.parameters import Carded, Parameters, listed, refuse_sparse_gradients
from trainwell.optimizers.torch_words import BETAS, in_torch_words


@optimizers.card(source="Duchi, Hazan & Singer 2011, JMLR 12, figure 1")
@checked
def adagrad(
    params: Parameters,
    *,
    lr: Rate = 0.01,
    eps: Positive = 1e-10,
    weight_decay: Amount = 0.0,
    maximize: bool = False,
) -> torch.optim.Adagrad:
    """AdaGrad: steps that shrink with all the gradient that a parameter has ever seen.

        g = gradient + weight_decay * theta
        G = G + g^2                                G starts at 0
        theta -= lr * g / (sqrt(G) + eps)

    The rate falls like 1 / sqrt(t) by itself and never rises again, so a long run comes to a halt; RMSprop was made
    against that. eps, the delta of the paper, stands outside the root and G starts at 0, as in torch; optax and Keras
    start G at 0.1, optax leaves out eps but for 1e-7 inside the root, and Keras has it there too.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate; the first step of every parameter is lr long.
        eps: keeps the quotient finite.
        weight_decay: strength of the L2 penalty, whose gradient is added to g.
        maximize: climb instead of descend.

    Returns:
        torch's own Adagrad, in its fused form where devices and types allow.

    Costs one copy of the weights. Cures gradients of unequal scale and rare features; needs no schedule.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3])
    >>> adagrad([weight], lr=0.25).step(); weight.detach().round(decimals=4)
    tensor([0.7500, 1.2500])
    """
    groups = listed(params, adagrad)
    fused = can_fuse(groups) or None
    optimizer = CardedAdagrad(groups, lr=lr, eps=eps, weight_decay=weight_decay, maximize=maximize, fused=fused)
    optimizer.register_step_pre_hook(dense_only)
    optimizer.register_step_pre_hook(_start_sums)
    guard(optimizer)
    optimizer.hold_to(adagrad)
    return optimizer


class CardedAdagrad(Carded, torch.optim.Adagrad):
    """torch's Adagrad, which holds later groups to the card."""


class CardedAdam(Carded, torch.optim.Adam):
    """torch's Adam, which holds later groups to the card."""


class CardedAdamW(Carded, torch.optim.AdamW):
    """torch's AdamW, which holds later groups to the card."""


def dense_only(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse, as a hook in front of each step, the sparse gradients that torch refuses in other words or trains on.

    Raises at a step:
        OptionInvalid: a gradient is sparse; the parameter is named.
    """
    gradients = (parameter.grad for group in optimizer.param_groups for parameter in group["params"])
    if any(gradient is not None and gradient.layout != torch.strided for gradient in gradients):
        refuse_sparse_gradients(getattr(optimizer, "owner", type(optimizer).__name__), optimizer.param_groups)


def _start_sums(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Begin the sums of a group that was added later, which torch's Adagrad begins in its constructor alone."""
    if len(optimizer.state) == sum(len(group["params"]) for group in optimizer.param_groups):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state.get(parameter):
                device = parameter.device if group["fused"] else "cpu"
                optimizer.state[parameter] = {
                    "step": torch.zeros((), device=device),
                    "sum": torch.zeros_like(parameter, requires_grad=False),
                }


@optimizers.card(source="Kingma & Ba 2014, arXiv:1412.6980, algorithm 1")
@checked
def adam(
    params: Parameters,
    *,
    lr: Rate = 1e-3,
    beta1: ProperFraction = 0.9,
    beta2: ProperFraction = 0.999,
    eps: Positive = 1e-8,
    weight_decay: Amount = 0.0,
    maximize: bool = False,
) -> torch.optim.Adam:
    """Adam: momentum over the root of the mean squared gradient, both corrected for their start at zero.

        g = gradient + weight_decay * theta
        m = beta1 * m + (1 - beta1) * g            m' = m / (1 - beta1^t)
        v = beta2 * v + (1 - beta2) * g^2          v' = v / (1 - beta2^t)
        theta -= lr * m' / (sqrt(v') + eps)

    The correction acts on the values used, never on m and v themselves. This is algorithm 1 of the paper, as in torch
    and optax; Keras and scikit-learn have the form at the end of its section 2, lr * sqrt(1 - beta2^t) / (1 - beta1^t)
    * m / (sqrt(v) + eps^), which equals ours for eps = eps^ / sqrt(1 - beta2^t): another one at each step. Weight
    decay is the L2 kind, a gradient like any other, so large gradients weaken it; `adamw` keeps it apart.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate; the first step of every parameter is about lr long.
        beta1: share of the mean gradient that survives a step.
        beta2: share of the mean squared gradient that survives a step.
        eps: keeps the quotient finite; larger makes the step more like that of momentum.
        weight_decay: strength of the L2 penalty, whose gradient is added to g.
        maximize: climb instead of descend.

    Returns:
        torch's own Adam, in its fused form where devices and types allow.

    Costs two copies of the weights. Cures gradients of unequal scale; often wants warm-up, and `adamw` where weights
    decay.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3])
    >>> adam([weight], lr=0.25).step(); weight.detach().round(decimals=4)
    tensor([0.7500, 1.2500])
    """
    in_words = partial(in_torch_words, words=BETAS, given={"beta1": beta1, "beta2": beta2}, builder=adam)
    groups = in_words(listed(params, adam))
    optimizer = CardedAdam(
        groups,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        maximize=maximize,
        fused=can_fuse(groups) or None,
    )
    optimizer.register_step_pre_hook(dense_only)
    guard(optimizer)
    optimizer.hold_to(adam, in_words)
    return optimizer


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
    maximize: bool = False,
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
        maximize: climb instead of descend.

    Returns:
        torch's own AdamW, in its fused form where devices and types allow, on the CPU with its lists kept
        (optimizers/direct.py).

    Costs two copies of the weights. Cures gradients of unequal scale; often wants warm-up.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([1e-3, -1e3])
    >>> adamw([weight], lr=0.25, weight_decay=0.0).step(); weight.detach().round(decimals=4)
    tensor([0.7500, 1.2500])
    """
    in_words = partial(in_torch_words, words=BETAS, given={"beta1": beta1, "beta2": beta2}, builder=adamw)
    groups = in_words(listed(params, adamw))
    options: dict[str, Any] = {
        "betas": (beta1, beta2),
        "eps": eps,
        "weight_decay": weight_decay,
        "maximize": maximize,
    }
    if is_on_cpu(groups):
        direct = DirectAdamW(groups, lr=lr, fused=True, **options)
        direct.hold_to(adamw, in_words)
        return direct
    optimizer = CardedAdamW(groups, lr=lr, fused=can_fuse(groups) or None, **options)
    guard(optimizer)
    optimizer.hold_to(adamw, in_words)
    return optimizer
