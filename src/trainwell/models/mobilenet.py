"""MobileNet of the first version: a convolution over pixels of each channel alone, then one over channels alone.

A 3x3 convolution from C to C' channels costs 9 C C' operations a pixel; the pair costs 9 C + C C'.

Source: Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications",
arXiv:1704.04861, table 1. Where padding stands, and the norm's options, are those of its authors' published weights.
"""

from collections.abc import Callable

from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.resnet import Stem
from trainwell.models.weights import start_weights, starter

WIDTH = 32
BLOCKS = (
    (2, 1),
    (4, 2),
    (4, 1),
    (8, 2),
    (8, 1),
    (16, 2),
    *[(16, 1)] * 5,
    (32, 2),
    (32, 1),
)  # channels in widths, stride
NORM = "batch:epsilon=0.001,momentum=0.01"


class MobileNet(nn.Module):
    """A strided 3x3 convolution, thirteen pairs of convolutions, mean over all pixels, dropout, head."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden: Hidden,
        width: int = WIDTH,
        stem: Stem = "large",
        dropout: float = 0.001,
        head: Head = "conv",
    ) -> None:
        super().__init__()
        self.in_channels, self.hidden = in_channels, hidden
        is_large = stem == "large"
        self.least_side = 32 if is_large else 16
        self.features = nn.Sequential(*_layer(in_channels, width, 3, 2 if is_large else 1, hidden))
        channels = width
        for times, stride in BLOCKS:
            depthwise = _layer(channels, channels, 3, stride, hidden, groups=channels)
            pointwise = _layer(channels, times * width, 1, 1, hidden)
            self.features.append(nn.Sequential(*depthwise, *pointwise))
            channels = times * width
        self.dropout = dropout_for(hidden.activation, dropout, 0)
        self.fc = make_head(head, channels, num_classes, hidden)
        start_weights(self, head=self.fc, hidden=hidden)

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
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network="mobilenet")
        maps: Tensor = self.features(inputs)
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        maps = self.maps(inputs)
        return pooled_scores(self.fc, maps, self.dropout)


def _layer(
    in_channels: int, out_channels: int, kernel: int, stride: int, hidden: Hidden, *, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution with what stands behind it; in front of a stride, zeros right and below only."""
    wide, padding = out_channels * hidden.widening, kernel // 2 if stride == 1 else 0
    convolution = nn.Conv2d(in_channels, wide, kernel, stride, padding=padding, groups=groups, bias=hidden.needs_bias)
    front = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    return [*front, convolution, *hidden.behind(out_channels, 2)]


@models.card(
    source="Howard et al. 2017, arXiv:1704.04861, table 1",
    small={"width": 4, "stem": "small", "dropout": 0.0},
    least_side=32,
)
def mobilenet(
    in_channels: int,
    num_classes: int,
    *,
    width: Count = WIDTH,
    stem: Stem = "large",
    dropout: ProperFraction = 0.001,
    activation: Activation = "relu",
    norm: Norm = NORM,
    norm_order: NormOrder = "before",
    head: Head = "conv",
) -> MobileNet:
    """MobileNet v1: convolutions over pixels and over channels in turn; few operations for its accuracy.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        width: channels of the first convolution; 32 is as published, all others are in proportion.
        stem: large takes images from 32x32 and leaves 1/32 of each side; small begins without a stride, from 16x16.
        dropout: share of the pooled features zeroed in training.
        activation: of every convolution.
        norm: of every convolution.
        norm_order: the norm before or after the activation.
        head: conv, as published, linear, mlp or cosine.

    Costs: a convolution of each channel alone keeps a processor waiting for memory, so that time falls less than
    operations. (Published: ImageNet top-1 accuracy 70.6 %.)

    >>> import torch
    >>> mobilenet(3, 10, width=4)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    hidden = Hidden(activation, norm, norm_order)
    return MobileNet(in_channels, num_classes, hidden=hidden, width=width, stem=stem, dropout=dropout, head=head)
