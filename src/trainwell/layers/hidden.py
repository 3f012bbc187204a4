"""What stands behind a hidden layer of a network: a norm and an activation, in one order or the other."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainwell.layers.choosing import gain_of, make_activation, make_norm, norm_traits, widening

NormOrder = Literal["before", "after"]


@dataclass(frozen=True)
class Hidden:
    """The norm and the activation of the hidden layers of a network.

    Attributes:
        activation: `NAME:key=value` of the shelf.
        norm: `NAME:key=value` of the shelf.
        norm_order: whether the norm stands before or after the activation.

    >>> [type(module).__name__ for module in Hidden("maxout:pieces=2", "batch", "after").behind(8, 0)]
    ['Maxout', 'BatchNorm1d']
    """

    activation: str
    norm: str
    norm_order: NormOrder = "before"

    @property
    def is_norm_first(self) -> bool:
        """Whether the norm stands between the layer and its activation."""
        return self.norm_order == "before"

    @property
    def widening(self) -> int:
        """How many times wider a layer must be than what comes out of its activation."""
        return widening(self.activation)

    @property
    def gain(self) -> float:
        """What the weights behind the activation are drawn with."""
        return gain_of(self.activation)

    @property
    def needs_bias(self) -> bool:
        """Whether a layer in front of an activation needs a bias: the shift of a norm between the two replaces it."""
        return not (self.is_norm_first and self.replaces_bias)

    @property
    def replaces_bias(self) -> bool:
        """Whether the norm has a shift that makes the bias of a layer right in front of it pointless."""
        return bool(norm_traits(self.norm).get("replaces_bias", False))

    def make_norm(self, channels: int, spatial_dims: int) -> nn.Module:
        """Return the norm for `channels` units: before the activation it sees all that the layer gives."""
        return make_norm(self.norm, channels * (self.widening if self.is_norm_first else 1), spatial_dims)

    def make_activation(self, channels: int) -> nn.Module:
        """Return the activation out of which `channels` come; in place where it can be, for inputs of nobody else."""
        module = make_activation(self.activation, channels)
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = True  # type: ignore[assignment]
        return module

    def behind(self, channels: int, spatial_dims: int) -> list[nn.Module]:
        """Return what stands behind a layer, in order, without what does nothing."""
        both = [self.make_norm(channels, spatial_dims), self.make_activation(channels)]
        return [module for module in (both if self.is_norm_first else both[::-1]) if type(module) is not nn.Identity]
