"""Bipolar activations: every second channel is turned over, so that the mean over the channels is 0."""

import torch
from torch import Tensor, nn

from trainwell.core.shelves import activations
from trainwell.core.units import Amount, Positive
from trainwell.layers.channels import per_channel
from trainwell.layers.gains import keeping_gain

SOURCE = "Eidnes & Nøkland 2017, arXiv:1709.04054, equation 3"


class Bipolar(nn.Module):
    """f(x) in channels 0, 2, 4, ... and -f(-x) in channels 1, 3, 5, ..."""

    sign: Tensor

    def __init__(self, channels: int, function: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("sign", 1.0 - 2.0 * (torch.arange(channels) % 2), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activations of inputs (N, C, ...)."""
        sign = per_channel(self.sign, inputs, layer="a bipolar activation")
        outputs: Tensor = sign * self.function(sign * inputs)
        return outputs

    def extra_repr(self) -> str:
        """Say how many channels there are."""
        return str(len(self.sign))


def _relu_gain() -> float:
    return keeping_gain(nn.ReLU())


def _elu_gain(alpha: float) -> float:
    return keeping_gain(nn.ELU(alpha))


def _leaky_gain(slope: float) -> float:
    return keeping_gain(nn.LeakyReLU(slope))


@activations.card(
    source=SOURCE,
    formula="max(0, x) if i % 2 == 0 else min(0, x)",
    derivative="(1 if x > 0 else 0) if i % 2 == 0 else (1 if x < 0 else 0)",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=True,
    can_die=True,
    cost="a comparison and two products",
    gain=_relu_gain,
)
def bipolar_relu(channels: int) -> Bipolar:
    """Bipolar ReLU: even channels keep what is positive, odd ones what is negative.

    Cures: outputs of one sign, without a norm. Costs: two products; a unit can still die.

    Args:
        channels: C.

    >>> import torch
    >>> bipolar_relu(2)(torch.tensor([[8.0, -4.0]]))
    tensor([[ 8., -4.]])
    """
    return Bipolar(channels, nn.ReLU())


@activations.card(
    source=SOURCE,
    formula="(x if x > 0 else alpha * (exp(x) - 1)) if i % 2 == 0 else (x if x < 0 else alpha * (1 - exp(-x)))",
    derivative="(1 if x > 0 else alpha * exp(x)) if i % 2 == 0 else (1 if x < 0 else alpha * exp(-x))",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=True,
    can_die=False,
    cost="an exponential on one side and two products",
    gain=_elu_gain,
)
def bipolar_elu(channels: int, *, alpha: Positive = 1.0) -> Bipolar:
    """Bipolar ELU: even channels are ELUs, odd ones ELUs turned over.

    Cures: a mean above 0, and units that die; the authors train very deep nets with it and LSUV instead of a norm.
    Costs: an exponential and two products.

    Args:
        channels: C.
        alpha: how far the bent side goes.

    >>> import torch
    >>> bipolar_elu(2)(torch.tensor([[-20.0, 20.0]]))
    tensor([[-1.,  1.]])
    """
    return Bipolar(channels, nn.ELU(alpha))


@activations.card(
    source=SOURCE,
    formula="(x if x > 0 else slope * x) if i % 2 == 0 else (x if x < 0 else slope * x)",
    derivative="(1 if x > 0 else slope) if i % 2 == 0 else (1 if x < 0 else slope)",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=True,
    can_die=False,
    cost="a comparison and three products",
    gain=_leaky_gain,
)
def bipolar_leaky_relu(channels: int, *, slope: Amount = 0.01) -> Bipolar:
    """Bipolar leaky ReLU: even channels are leaky ReLUs, odd ones leaky ReLUs turned over.

    Cures: a mean above 0, and units that die. Costs: two products.

    Args:
        channels: C.
        slope: of the weak side.

    >>> import torch
    >>> bipolar_leaky_relu(2, slope=0.5)(torch.tensor([[-4.0, 4.0]]))
    tensor([[-2.,  2.]])
    """
    return Bipolar(channels, nn.LeakyReLU(slope))
