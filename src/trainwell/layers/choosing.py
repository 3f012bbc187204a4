"""From the text of a choice, such as `maxout:pieces=2`, to the module, and to what networks ask about it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.core.catalog import Card
from trainwell.core.choice import Choice
from trainwell.core.shelves import activations, norms
from trainwell.layers.gains import keeping_gain


def make_activation(choice: str, channels: int) -> nn.Module:
    """Return an activation of the shelf.

    Args:
        choice: `NAME:key=value,...`.
        channels: C that come out of it; `widening(choice)` times as many come in.

    Raises:
        NameUnknown: no activation has this name.
        OptionInvalid: it has no such option, or not of this value.

    >>> make_activation("elu:alpha=0.5", 16)
    ELU(alpha=0.5)
    """
    card, options = _activation(choice)
    module: nn.Module = card.build(options, channels=channels)
    return module


def widening(choice: str) -> int:
    """Return how many times wider than its outputs the layer in front of an activation must be.

    >>> widening("relu"), widening("maxout:pieces=3")
    (1, 3)
    """
    card, options = _activation(choice)
    return int(options[card.traits["widens"]]) if "widens" in card.traits else 1


def gain_of(choice: str) -> float:
    """Return the gain of an activation: weights that read it are drawn from N(0, gain^2 / fan_in).

    One that declares none, as a user's own may, is measured: 1 / sqrt(E f(z)^2) for unit Gaussian z.

    >>> round(gain_of("relu"), 4), round(gain_of("leaky_relu:slope=1"), 4), round(gain_of("gelu"), 4)
    (1.4142, 1.0, 1.5335)
    """
    card, options = _activation(choice)
    gain: float | Callable[..., float] | None = card.traits.get("gain")
    if gain is None:
        unit = make_activation(choice, 1).to(torch.float64)

        def one_channel(z: Tensor) -> Tensor:
            result: Tensor = unit(z[:, None])[:, 0]  # (M,) -> (M, 1) -> (M,)
            return result

        return keeping_gain(one_channel)
    return float(gain(**options)) if callable(gain) else float(gain)


def make_norm(choice: str, channels: int, spatial_dims: int) -> nn.Module:
    """Return a norm of the shelf; `nn.Identity` where it is none, or works on the weights instead.

    Args:
        choice: `NAME:key=value,...`.
        channels: C that it reads and gives.
        spatial_dims: 0 for inputs (N, C), 2 for (N, C, H, W).

    Raises:
        NameUnknown: no norm has this name.
        OptionInvalid: it has no such option, or not of this value.
        ModelInvalid: it does not fit these channels, or this kind of inputs.

    >>> make_norm("batch", 16, 2)
    BatchNorm2d(16, eps=1e-05, momentum=0.1, affine=True, ...)
    """
    parsed = Choice.parse(choice)
    module: nn.Module = norms.build(parsed.name, parsed.options, channels=channels, spatial_dims=spatial_dims)
    return module


def norm_traits(choice: str) -> Mapping[str, Any]:
    """Return what the card of a norm declares about it."""
    return norms[Choice.parse(choice).name].traits


def activation_traits(choice: str) -> Mapping[str, Any]:
    """Return what the card of an activation declares about it."""
    return activations[Choice.parse(choice).name].traits


def _activation(choice: str) -> tuple[Card, dict[str, Any]]:
    parsed = Choice.parse(choice)
    card = activations[parsed.name]
    return card, card.parse_options(parsed.options)
