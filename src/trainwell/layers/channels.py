"""One number a channel, brought to the shape of a batch of activations."""

from torch import Tensor

from trainwell.errors import ShapeError


def per_channel(values: Tensor, inputs: Tensor, *, layer: str) -> Tensor:
    """Return (C,) numbers so that they meet the channels of inputs (N, C, ...), in the inputs' type.

    Raises:
        ShapeError: the inputs have other channels.

    >>> import torch
    >>> per_channel(torch.zeros(3), torch.zeros(2, 3, 8, 8), layer="prelu").shape
    torch.Size([3, 1, 1])
    """
    check_channels(inputs, len(values), layer=layer)
    return values.to(inputs.dtype).view(-1, *[1] * (inputs.ndim - 2))


def check_channels(inputs: Tensor, channels: int, *, layer: str) -> None:
    """Raise unless inputs is (N, C, ...) with so many channels.

    Raises:
        ShapeError: it is not.
    """
    if inputs.ndim < 2 or inputs.shape[1] != channels:
        raise ShapeError(
            f"{layer} was built for inputs (N, {channels}, ...), got {tuple(inputs.shape)}: build it for the channels"
            " that reach it"
        )
