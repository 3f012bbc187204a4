"""Maxout: each unit is the largest of several linear maps, and so learns the shape of its own activation."""

import functools
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from trainwell.core.shelves import activations
from trainwell.core.units import Unit
from trainwell.layers.channels import check_channels
from trainwell.layers.gains import keeping_gain

Pieces = Annotated[int, Ge(2), Unit("linear maps a unit")]


def _gain(pieces: int) -> float:
    return keeping_gain(lambda z: z, of_largest=pieces)


class Maxout(nn.Module):
    """(N, C k, ...) -> (N, C, ...): output c is the largest of inputs c k to c k + k - 1, which lie side by side."""

    def __init__(self, channels: int, *, pieces: int = 2) -> None:
        super().__init__()
        self.channels, self.pieces = channels, pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the largest of each group of `pieces` neighbouring channels."""
        check_channels(inputs, self.channels * self.pieces, layer="maxout")
        pieces = (inputs[:, piece :: self.pieces] for piece in range(self.pieces))  # each (N, C k, ...) -> (N, C, ...)
        return functools.reduce(torch.maximum, pieces)

    def extra_repr(self) -> str:
        """Say how many units there are, of how many pieces."""
        return f"{self.channels}, pieces={self.pieces}"


@activations.card(
    source="Goodfellow et al. 2013, arXiv:1302.4389",
    formula="max(x)",
    derivative="1 if x[j] == max(x) else 0",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="pieces - 1 comparisons, and a layer in front that is pieces times as wide",
    gain=_gain,
    widens="pieces",
)
def maxout(channels: int, *, pieces: Pieces = 2) -> Maxout:
    """Maxout: the largest of k linear maps, so that each unit learns a convex activation of its own.

    The k pieces of a unit are neighbours among the channels that come in. Where two are equal, the slope is shared.

    Cures: units that die; nothing saturates. Costs: the layer in front has k times the weights and operations.

    Args:
        channels: C that come out; k C come in.
        pieces: k.

    >>> import torch
    >>> maxout(2, pieces=2)(torch.tensor([[1.0, 5.0, -3.0, -2.0]]))
    tensor([[ 5., -2.]])
    """
    return Maxout(channels, pieces=pieces)
