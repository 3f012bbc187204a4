"""Which parameters weight decay pulls on, and which learn at a rate of their own.

Decay shrinks a map: kernels and matrices. A norm's scale and shift, a bias or the learned slope of an
activation is no map: pulling it to zero moves the activations themselves, and helps nothing.

Source: He et al. 2019, "Bag of tricks for image classification", arXiv:1812.01187, section 3.1.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from trainwell.core.rates import RatesSection
from trainwell.errors import ModelInvalid, did_you_mean
from trainwell.optimizers.depth import rate_factors

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMS = (*BATCH_NORMS, *INSTANCE_NORMS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
COMMON = RatesSection()


def parameter_groups(
    model: nn.Module,
    weight_decay: float | None = None,
    *,
    rates: RatesSection = COMMON,
    lr: float | None = None,
) -> list[dict[str, Any]]:
    """Return all parameters of a model in groups: with and without weight decay, and by rate where the model says so.

    A module may hold `lr_factors`, a mapping of names of its parameters to factors of the learning rate. Where
    modules name the same parameter, the outermost counts.

    Args:
        model: every parameter appears once, frozen ones too, so that they may thaw later.
        weight_decay: of the first group; None leaves it to the optimizer's own option.
        rates: factors of the rate by depth and by name, which multiply those of modules.
        lr: the common rate; with it each group with a factor has its own `lr`. Without it whoever sets rates must
            multiply by `lr_factor`, as `fit` does.

    Returns:
        Groups for any torch optimizer: those with decay before those without, of each the one at the common rate
        first; empty ones are left out, and within a group the model's order holds. Beside `params`, each has
        `param_names`, `places`: where each stands among all parameters of the model, and `reasons`: for each name,
        why it stands there; those without decay also `is_exempt`, those with a rate of their own `lr_factor`.

    Raises:
        ModelInvalid: `lr_factors` names no parameter of its module, or a factor is no number above 0.
        OptionInvalid: a pattern of `rates` matches nothing.

    >>> [group["reasons"] for group in parameter_groups(nn.Linear(2, 1), 0.1)]
    [{'weight': '2-d weight'}, {'bias': 'bias'}]
    """
    in_norms, in_slopes = _parameters_in(model, NORMS), _parameters_in(model, (nn.PReLU,))
    factors = _lr_factors(model)
    for name, factor in rate_factors(model, rates).items():
        factors[name] = factors.get(name, 1.0) * factor
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for place, (name, parameter) in enumerate(model.named_parameters()):
        is_slope = id(parameter) in in_slopes
        reason = (
            "slope of an activation"
            if is_slope
            else _exemption(name, parameter.ndim, is_in_norm=id(parameter) in in_norms)
        )
        key = bool(reason), factors.get(name, 1.0)
        group = groups.setdefault(key, _empty_group(*key, weight_decay))
        group["params"].append(parameter)
        group["param_names"].append(name)
        group["places"].append(place)
        group["reasons"][name] = reason or f"{parameter.ndim}-d weight"
    if lr is not None:
        for (_, factor), group in groups.items():
            group |= {"lr": lr * factor} if factor != 1 else {}
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], key[1] != 1, key[1]))]


def _parameters_in(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[int]:
    """Return the ids of the parameters that modules of these kinds own."""
    owners = (module for module in model.modules() if isinstance(module, kinds))
    return {id(parameter) for module in owners for parameter in module.parameters(recurse=False)}


def _empty_group(is_exempt: bool, lr_factor: float, weight_decay: float | None) -> dict[str, Any]:
    group: dict[str, Any] = {"params": [], "param_names": [], "places": [], "reasons": {}}
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
