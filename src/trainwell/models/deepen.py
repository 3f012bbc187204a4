"""Deeper without a jump: residual units whose branch is zero are put into a trained network, which answers as before.

A unit y = x + f(x) with f = 0 is the identity, whatever its input. Trained on, its branch learns what the network
lacks. Where an activation acts on the sum, y = act(x + f(x)), that is so only if act(act(x)) = act(x), as of ReLU.

Source: He et al. 2016, arXiv:1512.03385, section 1 (a deeper net contains the shallower one); Chen, Goodfellow & Shlens
2016, "Net2Net", arXiv:1511.05641, section 2.3 (layers that begin as the identity).
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.models.preact import PreActResNet, PreActUnit
from trainwell.models.residual import BasicUnit, Bottleneck
from trainwell.models.resnet import ResNet
from trainwell.models.weights import start_weights

SIDE = 4  # of the maps of noise on which a new unit must be the identity, bit for bit


@torch.no_grad()
def deepen(model: nn.Module, *, units: int = 1) -> nn.Module:
    """Return a copy of a residual network of this shelf with zero units at the end of each stage.

    In evaluation its scores are those of the given network, bit for bit; the first step of training moves the last
    layer or norm of each new branch, later ones all of it. The new convolutions are drawn from torch's global generator
    as those of a fresh network are. The given network stays as it is. With stochastic depth, a new unit survives as
    often as the one before it.

    Args:
        model: of `resnet`, `cifar_resnet`, `preact`, `preact_resnet`, `wide_resnet` or their presets, at any time of
            its training.
        units: how many are added to each stage.

    Raises:
        OptionInvalid: units is below 1.
        ModelInvalid: not such a network, or its units cannot be the identity: its activation acts on the sum and
            changes what it gave itself, or its shortcuts project everywhere.

    >>> from trainwell.models.resnet import cifar_resnet
    >>> net = cifar_resnet(3, 10, depth=8).eval()
    >>> deeper, images = deepen(net).eval(), torch.randn(2, 3, 32, 32)
    >>> torch.equal(deeper(images), net(images)), deeper.layout.units
    (True, (2, 2, 2))
    """
    if units < 1:
        raise OptionInvalid(f"units must be at least 1, got {units}: how many are added to each stage")
    if not isinstance(model, ResNet | PreActResNet):
        raise ModelInvalid(
            f"deepen works on residual networks of this shelf, got {type(model).__name__}: take resnet, cifar_resnet, "
            "preact, preact_resnet, wide_resnet or one of their presets"
        )
    deeper = copy.deepcopy(model)
    for name, stage in zip(_names(model), deeper.stages, strict=True):
        for _ in range(units):
            stage.append(_zero_unit(stage[-1], deeper, place=f"{name}.{len(stage)}"))
    deeper.layout = replace(deeper.layout, units=tuple(count + units for count in model.layout.units))
    return deeper


def _names(model: ResNet | PreActResNet) -> list[str]:
    return [f"layer{number}" for number in range(1, len(model.layout.units) + 1)]


def _zero_unit(before: Any, model: ResNet | PreActResNet, *, place: str) -> nn.Module:
    """Return a unit that takes what another gives, and is the identity."""
    form = model.form
    if form.shortcut == "C":
        raise ModelInvalid(
            f"{place} cannot begin as the identity: with shortcut=C every skip is a convolution; take A, B or pooled"
        )
    channels = before.out_channels // (before.widening if isinstance(before, PreActUnit) else 1)
    survival = 1.0 if before.chance is None else before.chance.survival
    unit: BasicUnit | Bottleneck | PreActUnit = type(before)(channels, channels, stride=1, form=form, survival=survival)
    start_weights(unit, head=nn.Identity(), hidden=form.hidden)
    _silence(*unit.last)
    unit.to(next(before.parameters()))
    _require_identity(unit, before, activation=form.hidden.activation, place=place)
    unit.train(before.training)
    return unit


def _silence(convolution: Any, norm: nn.Module) -> None:
    """Let a branch give zero: by scale and shift of its last norm, or else by its last convolution."""
    scale, shift = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if isinstance(scale, Tensor):
        scale.zero_()
        if isinstance(shift, Tensor):
            shift.zero_()
        return
    is_normed = parametrize.is_parametrized(convolution, "weight")
    length = convolution.parametrizations.weight.original0 if is_normed else convolution.weight
    length.zero_()
    if convolution.bias is not None:
        convolution.bias.zero_()


def _require_identity(unit: Any, before: Any, *, activation: str, place: str) -> None:
    """Raise unless a unit gives back, bit for bit, what the one before it gives, and its branch can learn."""
    weight = next(unit.parameters())
    noise = torch.randn(4, before.in_channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(weight)
    is_training = before.training
    given = before.eval()(noise)
    before.train(is_training)
    if not torch.equal(unit.eval()(given.clone()), given):
        raise ModelInvalid(
            f"{place} cannot begin as the identity: {activation} acts on what it gave itself and changes it; take an "
            "activation that does not (relu, maxout, identity), norm_order=after with a norm, or preact"
        )
    with torch.enable_grad():
        unit(given.clone()).square().sum().backward()
    if not any(p.grad is not None and bool(p.grad.any()) for p in unit.parameters()):
        raise ModelInvalid(
            f"{place} could never learn: {activation} passes no gradient at the zero that its branch begins with; "
            "take a norm, or norm_order=before"
        )
    unit.zero_grad()
