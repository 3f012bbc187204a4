"""VGG and AlexNet: plain stacks of convolutions and maxima, with most of their weights in three dense layers.

Parameter names are torchvision's (`features.0.weight`, ..., `classifier.6.bias`).

Source: Simonyan & Zisserman 2015, arXiv:1409.1556, table 1; Krizhevsky, Sutskever & Hinton 2012, "ImageNet
classification with deep convolutional neural networks"; Krizhevsky 2014, arXiv:1404.5997 (its form in one column).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.presets import preset
from trainwell.models.weights import start_weights, starter

VGG_SOURCE = "Simonyan & Zisserman 2015, arXiv:1409.1556, table 1"
LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_WIDTHS, VGG_SIDE, WIDTH = (1, 2, 4, 8, 8), 7, 64
ALEX_SIDE = 6
DENSE = 64  # units of each hidden dense layer, in widths

DenseHead = Head | Literal["dense"]


@dataclass(frozen=True)
class Conv:
    """One convolution: channels, kernel, stride, padding; and whether a maximum stands behind it."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    is_pooled: bool = False


class StackedNet(nn.Module):
    """Convolutions and maxima one behind the other, then dense layers, or any other head.

    The published head `dense` brings the maps to one size by means over places, so that images of any size will do.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        name: str,
        convolutions: Sequence[Conv],
        pool: tuple[int, int],
        head: nn.Module | None,
        hidden: Hidden,
        kind: Head = "linear",
    ) -> None:
        super().__init__()
        self.in_channels, self.name, self.hidden = in_channels, name, hidden
        layers: list[nn.Module] = []
        channels, kernel, stride = in_channels, *pool
        for layer in convolutions:
            wide = layer.channels * hidden.widening
            layers.append(
                nn.Conv2d(channels, wide, layer.kernel, layer.stride, padding=layer.padding, bias=hidden.needs_bias)
            )
            layers += hidden.behind(layer.channels, 2)
            layers += [nn.MaxPool2d(kernel, stride)] if layer.is_pooled else []
            channels = layer.channels
        self.least_side = _least_side(convolutions, kernel, stride)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(head.side) if isinstance(head, DenseLayers) else None
        self.classifier = make_head(kind, channels, num_classes, hidden) if head is None else head
        start_weights(self, head=self.classifier, hidden=hidden)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    @property
    def head(self) -> nn.Module:
        """What turns the last maps into scores."""
        return self.classifier

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps of images (N, C, H, W): (N, C', h, w)."""
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network=self.name)
        maps: Tensor = self.features(inputs)
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        maps = self.maps(inputs)
        if self.avgpool is None:
            return pooled_scores(self.classifier, maps)
        scores: Tensor = self.classifier(self.avgpool(maps).flatten(1))  # (N, C, h, w) -> (N, C side^2) -> (N, K)
        return scores


class DenseLayers(nn.Sequential):
    """Two hidden dense layers with dropout and the one that gives the scores, on maps of one size.

    Args:
        channels: of the maps.
        side: of the maps.
        width: units of each hidden layer.
        num_classes: K.
        hidden: their activation.
        dropout: share of what enters (AlexNet) or leaves (VGG) each hidden layer that is zeroed in training.
        is_dropped_first: whether dropout stands in front of each hidden layer.
    """

    reads_all_places = True

    def __init__(
        self,
        channels: int,
        side: int,
        width: int,
        num_classes: int,
        *,
        hidden: Hidden,
        dropout: float,
        is_dropped_first: bool,
    ) -> None:
        super().__init__()
        features = channels * side**2
        for _ in range(2):
            drop = dropout_for(hidden.activation, dropout, 0)
            dense = [nn.Linear(features, width * hidden.widening), hidden.make_activation(width)]
            for module in [drop, *dense] if is_dropped_first else [*dense, drop]:
                self.append(module)
            features = width
        self.append(nn.Linear(width, num_classes))
        self.side = side


def _least_side(convolutions: Sequence[Conv], kernel: int, stride: int) -> int:
    """Return the smallest side of images that leaves one place, from the last layer back to the first."""
    side = 1
    for layer in reversed(convolutions):
        if layer.is_pooled:
            side = (side - 1) * stride + kernel
        side = max(1, (side - 1) * layer.stride + layer.kernel - 2 * layer.padding)
    return side


def _vgg_layers(depth: int, width: int) -> Iterator[Conv]:
    for times, count in zip(VGG_WIDTHS, LAYERS[depth], strict=True):
        for layer in range(count):
            yield Conv(times * width, 3, padding=1, is_pooled=layer == count - 1)


@models.card(source=VGG_SOURCE, small={"depth": 11, "width": 4, "dropout": 0.0}, least_side=32)
def vgg(
    in_channels: int,
    num_classes: int,
    *,
    depth: Literal[11, 13, 16, 19] = 16,
    width: Count = WIDTH,
    dropout: ProperFraction = 0.5,
    activation: Activation = "relu",
    norm: Norm = "none",
    norm_order: NormOrder = "before",
    head: DenseHead = "dense",
) -> StackedNet:
    """VGG: 8 to 16 convolutions of 3x3 with five maxima between them, and three dense layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times, the dense layers 64 times as many.
        dropout: share of what leaves each hidden dense layer zeroed in training.
        activation: of every layer but the last.
        norm: of every convolution; published without.
        norm_order: the norm before or after the activation.
        head: dense, the published three layers on maps of 7x7; or linear, conv, mlp or cosine on their mean.

    For comparison: a residual network of 34 layers has a sixth of its parameters and a quarter of its operations.
    Images from 32x32. (Published: ImageNet top-5 error 7.3 % by an ensemble.)

    >>> import torch
    >>> vgg(3, 10, width=2)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    hidden = Hidden(activation, norm, norm_order)
    convolutions = tuple(_vgg_layers(depth, width))
    dense = None
    if head == "dense":
        channels = convolutions[-1].channels
        dense = DenseLayers(
            channels, VGG_SIDE, DENSE * width, num_classes, hidden=hidden, dropout=dropout, is_dropped_first=False
        )
    return StackedNet(
        in_channels,
        num_classes,
        name=f"vgg{depth}",
        convolutions=convolutions,
        pool=(2, 2),
        head=dense,
        hidden=hidden,
        kind="linear" if head == "dense" else head,
    )


def _alex_layers(year: int, width: int) -> Iterator[Conv]:
    first, padding, widths = (width, 2, (3, 6, 4, 4)) if year == 2014 else (width * 3 // 2, 0, (4, 6, 6, 4))
    yield Conv(first, 11, 4, padding, is_pooled=True)
    yield Conv(widths[0] * width, 5, padding=2, is_pooled=True)
    for place, times in enumerate(widths[1:]):
        yield Conv(times * width, 3, padding=1, is_pooled=place == 2)


@models.card(
    source="Krizhevsky, Sutskever & Hinton 2012; Krizhevsky 2014, arXiv:1404.5997",
    small={"width": 4, "dropout": 0.0},
    least_side=63,
)
def alexnet(
    in_channels: int,
    num_classes: int,
    *,
    year: Literal[2012, 2014] = 2014,
    width: Count = WIDTH,
    dropout: ProperFraction = 0.5,
    activation: Activation = "relu",
    norm: Norm = "none",
    norm_order: NormOrder = "before",
    head: DenseHead = "dense",
) -> StackedNet:
    """AlexNet: five convolutions, the first of 11x11 with stride 4, and three dense layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        year: 2014, of 64, 192, 384, 256, 256 channels, as in torchvision; or 2012, of 96, 256, 384, 384, 256, meant for
            227x227, here in one column, not in the two that its graphics cards had.
        width: of the form of 2014 the channels of the first convolution; all others are in proportion.
        dropout: share of what enters each hidden dense layer zeroed in training.
        activation: of every layer but the last.
        norm: of every convolution; `local_response` in the first two places was published, here it is all or none.
        norm_order: the norm before or after the activation.
        head: dense, the published three layers on maps of 6x6; or linear, conv, mlp or cosine on their mean.

    For comparison: a residual network of 34 layers has a third of its parameters and three times its operations.
    Images from 63x63, 67x67 in the form of 2012. (Published: ImageNet top-5 error 15.3 % by an ensemble.)

    >>> import torch
    >>> alexnet(3, 10, width=2)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    hidden = Hidden(activation, norm, norm_order)
    convolutions = tuple(_alex_layers(year, width))
    dense = None
    if head == "dense":
        channels = convolutions[-1].channels
        dense = DenseLayers(
            channels, ALEX_SIDE, DENSE * width, num_classes, hidden=hidden, dropout=dropout, is_dropped_first=True
        )
    return StackedNet(
        in_channels,
        num_classes,
        name="alexnet",
        convolutions=convolutions,
        pool=(3, 2),
        head=dense,
        hidden=hidden,
        kind="linear" if head == "dense" else head,
    )


vgg16 = preset(
    vgg,
    "vgg16",
    "VGG of 16 layers with weights, as in torchvision (7.3 % top-5 error on ImageNet in the paper, by an ensemble).",
    source=VGG_SOURCE,
    fixed={"depth": 16},
    least_side=32,
)
