"""What a network demands of the tensor it is given, checked at its door with words that help."""

import math
from collections.abc import Sequence

from torch import Tensor

from trainwell.errors import ModelInvalid, ShapeError


def require_images(inputs: Tensor, *, in_channels: int, least_side: int, network: str) -> None:
    """Raise unless inputs is (N, C, H, W) with the network's channels and enough pixels.

    Raises:
        ShapeError: another number of dimensions, other channels, or a side below `least_side`.
    """
    if inputs.ndim != 4:
        raise ShapeError(
            f"{network} takes images (N, C, H, W), got {tuple(inputs.shape)}: "
            "add the missing dimension, or use mlp for plain features"
        )
    if inputs.shape[1] != in_channels:
        raise ShapeError(
            f"{network} was built for {in_channels} channels, got {inputs.shape[1]} in {tuple(inputs.shape)}: "
            f"build it with in_channels={inputs.shape[1]}, or convert the images"
        )
    if min(inputs.shape[2:]) < least_side:
        raise ShapeError(
            f"{network} needs images of at least {least_side}x{least_side} pixels, "
            f"got {inputs.shape[2]}x{inputs.shape[3]}: enlarge them, or use a network with less subsampling"
        )


def require_features(inputs: Tensor, *, in_features: int, network: str) -> None:
    """Raise unless each sample of inputs (N, ...) holds `in_features` numbers.

    Raises:
        ShapeError: the product of the dimensions behind N is another number.
    """
    received = math.prod(inputs.shape[1:])
    if inputs.ndim < 2 or received != in_features:
        raise ShapeError(
            f"{network} was built for {in_features} numbers a sample, got {received} in {tuple(inputs.shape)}: "
            f"build it with in_features={received}, or resize the inputs to the size that it was trained on"
        )


def image_shape(input_shape: Sequence[int], *, network: str) -> tuple[int, int, int]:
    """Return (C, H, W), or raise for inputs that are not images.

    Raises:
        ModelInvalid: input_shape does not have three positive entries.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ModelInvalid(
            f"{network} needs images, input_shape (C, H, W), got {tuple(input_shape)}: use mlp for plain features"
        )
    channels, height, width = input_shape
    return channels, height, width
