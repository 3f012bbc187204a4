"""Activations of two straight lines that meet at 0: ReLU, with a slope on its left side, or with a learned level."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import activations
from trainwell.core.units import Amount
from trainwell.layers.channels import check_channels, per_channel
from trainwell.layers.gains import keeping_gain


def _leaky_gain(slope: float) -> float:
    return math.sqrt(2 / (1 + slope**2))


def _prelu_gain(start: float) -> float:
    return _leaky_gain(start)


def _flexible_gain(start: float) -> float:
    return keeping_gain(lambda z: torch.relu(z) + start)


@activations.card(
    source="Nair & Hinton 2010; Krizhevsky et al. 2012, section 3.1",
    formula="max(0, x)",
    derivative="1 if x > 0 else 0",
    range="(0, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=True,
    cost="a comparison",
    gain=math.sqrt(2.0),
)
def relu() -> nn.ReLU:
    """Rectified linear unit: positive numbers pass, negative ones become 0.

    Cures: gradients that vanish at flat ends. Costs: outputs of one sign; a unit that is negative for all samples gets
    no gradient any more. Its slope at 0 is taken as 0.

    >>> import torch
    >>> relu()(torch.tensor([-2.0, 3.0]))
    tensor([0., 3.])
    """
    return nn.ReLU()


@activations.card(
    source="Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models",
    formula="x if x > 0 else slope * x",
    derivative="1 if x > 0 else slope",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="a comparison and a product",
    gain=_leaky_gain,
)
def leaky_relu(*, slope: Amount = 0.01) -> nn.LeakyReLU:
    """Leaky ReLU: negative numbers pass too, much smaller.

    Cures: units that die. Costs: next to nothing; with a slope of 0 it is ReLU and can die.

    Args:
        slope: of the left side; 0.1 is also seen, and 0.3 elsewhere.

    >>> import torch
    >>> leaky_relu(slope=0.1)(torch.tensor([-2.0, 3.0]))
    tensor([-0.2000,  3.0000])
    """
    return nn.LeakyReLU(slope)


class PReLU(nn.PReLU):
    """Leaky ReLU whose left slope is learned, one a channel: weight (C,)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (N, C, ...) with the negative ones times their channel's slope."""
        check_channels(inputs, self.num_parameters, layer="prelu")
        return functional.prelu(inputs, self.weight.to(inputs.dtype))


@activations.card(
    source="He et al. 2015, arXiv:1502.01852, section 2.1",
    formula="x if x > 0 else start * x",
    derivative="1 if x > 0 else start",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="a comparison and a product; one weight a channel",
    gain=_prelu_gain,
)
def prelu(channels: int, *, start: Amount = 0.25) -> PReLU:
    """Parametric ReLU: the slope of the left side is learned, one a channel.

    Cures: units that die, without a slope to choose. Costs: C weights, which weight decay leaves alone, because it
    would pull the activation to a ReLU.

    Args:
        channels: C.
        start: what the slopes begin as.

    >>> import torch
    >>> prelu(2)(torch.tensor([[-4.0, 8.0]])).detach()
    tensor([[-1.,  8.]])
    """
    return PReLU(channels, init=start)


class FlexibleReLU(nn.Module):
    """ReLU whose lowest level is learned, one a channel: relu(x) + bias, bias (C,)."""

    def __init__(self, channels: int, *, start: float = 0.0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((channels,), start))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (N, C, ...) rectified at their channel's level."""
        return functional.relu(inputs) + per_channel(self.bias, inputs, layer="flexible_relu")

    def extra_repr(self) -> str:
        """Say how many levels there are."""
        return str(len(self.bias))


@activations.card(
    source="Qiu, Xu & Cai 2017, arXiv:1706.08098, equation 3",
    formula="max(0, x) + start",
    derivative="1 if x > 0 else 0",
    range="(0, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=True,
    cost="a comparison and a sum; one weight a channel",
    gain=_flexible_gain,
)
def flexible_relu(channels: int, *, start: float = 0.0) -> FlexibleReLU:
    """Flexible ReLU: relu(x) + b, with b learned for each channel; usually it learns to lie below 0.

    Cures: outputs of one sign: at b = -1 / sqrt(2 pi) = -0.399 the mean is 0 where x is unit Gaussian. Costs: C
    weights, which weight decay leaves alone. Another activation of the same initials, the funnel ReLU of Ma et al.
    2020, is something else.

    Args:
        channels: C.
        start: what b begins as. The paper does not settle it; at 0 the activation begins as a ReLU.

    >>> import torch
    >>> flexible_relu(2, start=-1.0)(torch.tensor([[-4.0, 8.0]])).detach()
    tensor([[-1.,  7.]])
    """
    return FlexibleReLU(channels, start=start)
