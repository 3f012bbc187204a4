"""Weights that somebody has trained, with all that is known about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from trainwell.core.choice import Choice


@dataclass(frozen=True)
class Pretrained:
    """Weights by name, where they come from, and how the network that they belong to reads images.

    Attributes:
        name: what a person calls it.
        location: path, address or repository.
        sha256: of the weights file, as hex digits.
        tensors: parameters and buffers by the network's own names; wrappers around them are stripped.
        model: the network of our shelf, where it is known.
        input_shape: (C, H, W) that it was trained on, where that is known; most networks take other sizes too.
        preprocessing: the one that it was trained with, where that is known.
        preprocessing_state: its frozen statistics; empty where the choice says everything.
        classes: names of its scores, in order; empty where they are unknown.
    """

    name: str
    location: str
    sha256: str
    tensors: Mapping[str, Tensor]
    model: Choice | None = None
    input_shape: tuple[int, int, int] | None = None
    preprocessing: Choice | None = None
    preprocessing_state: Mapping[str, Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
