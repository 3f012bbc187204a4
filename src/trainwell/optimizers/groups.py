"""Which parameters weight decay pulls on: the kernels and matrices, not norms, biases and other vectors.

Decay shrinks a map. A norm's scale and shift or a bias is no map: pulling it to zero moves the
activations themselves, and helps nothing.

Source: He et al. 2019, "Bag of tricks for image classification", arXiv:1812.01187, section 3.1.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from trainwell.errors import ModelInvalid, did_you_mean

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMS = (*BATCH_NORMS, *INSTANCE_NORMS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def parameter_groups(model: nn.Module, weight_decay: float | None = None) -> list[dict[str, Any]]:
    """Return all parameters of a model in groups: with and without weight decay, and by rate where the model says so.

    A module may hold `lr_factors`, a mapping of names of its parameters to factors of the learning rate. Where
    modules name the same parameter, the outermost counts.

    Args:
        model: every parameter appears once, frozen ones too, so that they may thaw later.
        weight_decay: of the first group; None leaves it to the optimizer's own option.

    Returns:
        Groups for any torch optimizer: those with decay before those without, of each the one at the common rate
        first; empty ones are left out, and within a group the model's order holds. Beside `params`, each has
        `param_names`, and `reasons`: for each name, why it stands there; those without decay also `is_exempt`,
        those with a rate of their own `lr_factor`.

    Raises:
        ModelInvalid: `lr_factors` names no parameter of its module, or a factor is no number above 0.

    >>> [group["reasons"] for group in parameter_groups(nn.Linear(2, 1), 0.1)]
    [{'weight': '2-d weight'}, {'bias': 'bias'}]
    """
    in_norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
    }
    factors = _lr_factors(model)
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        reason = _exemption(name, parameter.ndim, is_in_norm=id(parameter) in in_norms)
        key = bool(reason), factors.get(name, 1.0)
        group = groups.setdefault(key, _empty_group(*key, weight_decay))
        group["params"].append(parameter)
        group["param_names"].append(name)
        group["reasons"][name] = reason or f"{parameter.ndim}-d weight"
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], key[1] != 1, key[1]))]


def _empty_group(is_exempt: bool, lr_factor: float, weight_decay: float | None) -> dict[str, Any]:
    group: dict[str, Any] = {"params": [], "param_names": [], "reasons": {}}
    if is_exempt:
        group |= {"weight_decay": 0.0, "is_exempt": True}
    elif weight_decay is not None:
        group["weight_decay"] = weight_decay
    return group | ({"lr_factor": lr_factor} if lr_factor != 1 else {})


def _lr_factors(model: nn.Module) -> dict[str, float]:
    """Return the factors that the modules of a model ask for, by the name of the parameter in the whole model."""
    factors: dict[str, float] = {}
    for place, module in model.named_modules():
        known = dict(module.named_parameters(remove_duplicate=False))
        for name, factor in getattr(module, "lr_factors", {}).items():
            if name not in known or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
                raise ModelInvalid(
                    f"{type(module).__name__}.lr_factors has {name!r}: {factor!r}; it must map names of its parameters"
                    f" to factors above 0{'' if name in known else did_you_mean(name, known)}"
                )
            factors.setdefault(f"{place}.{name}" if place else name, float(factor))
    return factors


def describe(groups: Iterable[Mapping[str, Any]]) -> str:
    """Say which parameters are in which group and why, one line a parameter.

    >>> print(describe(parameter_groups(nn.Linear(2, 1), 0.1)))
    weight decay 0.1: weight (2-d weight)
    weight decay 0.0: bias (bias)
    """
    lines = []
    for group in groups:
        decay = group.get("weight_decay", "as the optimizer says")
        rate = f", rate x {group['lr_factor']:g}" if "lr_factor" in group else ""
        lines += [f"weight decay {decay}{rate}: {name} ({reason})" for name, reason in group["reasons"].items()]
    return "\n".join(lines)


def _exemption(name: str, ndim: int, *, is_in_norm: bool) -> str:
    """Why a parameter takes no decay, or the empty string."""
    if is_in_norm:
        return "parameter of a norm"
    if name.rpartition(".")[2] == "bias":
        return "bias"
    return "vector or scalar" if ndim <= 1 else ""
