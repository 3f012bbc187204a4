"""A small, fast convolutional network whose subsampling fits itself to the image size.

Source: Simonyan & Zisserman 2015, arXiv:1409.1556 (pairs of 3x3 convolutions between poolings);
Ioffe & Szegedy 2015, arXiv:1502.03167 (batch norm); Lin et al. 2014, arXiv:1312.4400 (global average pooling).
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.errors import ModelInvalid
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import image_shape, require_images
from trainwell.models.weights import start_weights, starter

LEAST_SIDE = 4
STEM_SIDE = 48  # images above this are halved by strides in the stem: full-size maps would eat most of the time


class ConvNet(nn.Module):
    """Stages of two conv-norm-activation layers, max pooling between them, mean over all pixels, one dense layer.

    Each stage doubles the channels, up to 8x the first. Pooling stops where maps would fall under
    4x4; images over 48 pixels are first subsampled by a strided stem. Built for one image size, it
    takes any size that survives its subsampling.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        width: int = 32,
        depth: int = 3,
        activation: str = "relu",
        norm: str = "batch",
        norm_order: NormOrder = "before",
        dropout: float = 0.0,
        head: Head = "linear",
    ) -> None:
        super().__init__()
        self.hidden = Hidden(activation, norm, norm_order)
        self.in_channels, *sides = image_shape(input_shape, network="convnet")
        side = min(sides)
        if side < LEAST_SIDE:
            raise ModelInvalid(
                f"convnet needs images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, got {sides[0]}x{sides[1]}: "
                "enlarge them with image_size, or use mlp"
            )
        blocks: list[nn.Module] = []
        channels = self.in_channels
        self.least_side = 1
        for _ in range(_stem_halvings(side)):
            blocks.append(_block(channels, width, self.hidden, stride=2))
            channels, side, self.least_side = width, side // 2, self.least_side * 2
        for stage in range(depth):
            if stage > 0 and side >= 2 * LEAST_SIDE:
                blocks.append(nn.MaxPool2d(2))
                side, self.least_side = side // 2, self.least_side * 2
            out_channels = width * min(2**stage, 8)
            for in_channels in (channels, out_channels):
                blocks.append(_block(in_channels, out_channels, self.hidden))
            channels = out_channels
        self.body = nn.Sequential(*blocks)
        self.dropout = dropout_for(activation, dropout, 0)
        self.fc = make_head(head, channels, num_classes, self.hidden)
        start_weights(self, head=self.fc, hidden=self.hidden)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    @property
    def head(self) -> nn.Module:
        """What turns the last maps into scores."""
        return self.fc

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps of images (N, C, H, W): (N, C', h, w)."""
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network="convnet")
        maps: Tensor = self.body(inputs)
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        return pooled_scores(self.fc, self.maps(inputs), self.dropout)


def _block(in_channels: int, out_channels: int, hidden: Hidden, *, stride: int = 1) -> nn.Sequential:
    wide = out_channels * hidden.widening
    convolution = nn.Conv2d(in_channels, wide, 3, stride, padding=1, bias=hidden.needs_bias)
    return nn.Sequential(convolution, *hidden.behind(out_channels, 2))


def _stem_halvings(side: int) -> int:
    halvings = 0
    while side > STEM_SIDE:
        side, halvings = side // 2, halvings + 1
    return halvings


@models.card(
    source="Simonyan & Zisserman 2015, arXiv:1409.1556; Ioffe & Szegedy 2015, arXiv:1502.03167",
)
def convnet(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: Count = 32,
    depth: Count = 3,
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    dropout: ProperFraction = 0.0,
    head: Head = "linear",
) -> ConvNet:
    """Small convolutional network with batch norm; fast on images of 8x8 to 64x64.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        input_shape: (C, H, W); its smaller side decides how often the maps are halved.
        num_classes: K.
        width: channels of the first stage; each further stage doubles them, up to 8x.
        depth: stages of two convolutions each.
        activation: of every convolution.
        norm: of every convolution.
        norm_order: the norm before or after the activation.
        dropout: share of the pooled features zeroed in training.
        head: linear, conv, mlp or cosine.

    Time grows with width squared; a residual network trains better once depth passes about five.

    >>> import torch
    >>> convnet((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    return ConvNet(
        input_shape,
        num_classes,
        width=width,
        depth=depth,
        activation=activation,
        norm=norm,
        norm_order=norm_order,
        dropout=dropout,
        head=head,
    )
