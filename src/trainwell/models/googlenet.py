"""GoogLeNet: modules of four parallel branches, and two classifiers in its middle that only training sees.

    module = concat(1x1, 1x1 -> 3x3, 1x1 -> larger, 3x3 maximum -> 1x1)
    loss   = loss(scores) + w loss(auxiliary scores 1) + w loss(auxiliary scores 2)       w = 0.3

Parameter names are torchvision's (`conv1.conv`, `inception3a.branch2.0.bn`, `aux1.fc1`, ..., `fc`).

Source: Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842, table 1 and section 5; batch norm as in
Ioffe & Szegedy 2015, arXiv:1502.03167.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Amount, Count, ProperFraction
from trainwell.layers.choosing import norm_traits
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.residual import PaddedIdentity
from trainwell.models.resnet import Stem
from trainwell.models.weights import start_weights, starter

WIDTH = 64  # channels of the first convolution as published, to which all others are in proportion
MODULES = {  # table 1: 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, behind the maximum
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARIES = {"4a": "aux1", "4d": "aux2"}  # read what these modules give
AUXILIARY_SIDE, AUXILIARY_WIDTH, AUXILIARY_DENSE, AUXILIARY_DROPOUT = 4, 128, 1024, 0.7
NORM = "batch:epsilon=0.001"


class Convolution(nn.Module):
    """A convolution with its norm and activation, in either order."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, hidden: Hidden, *, stride: int = 1) -> None:
        super().__init__()
        wide = out_channels * hidden.widening
        self.is_norm_first = hidden.is_norm_first
        self.conv = nn.Conv2d(in_channels, wide, kernel, stride, padding=kernel // 2, bias=hidden.needs_bias)
        self.bn = hidden.make_norm(out_channels, 2)
        self.act = hidden.make_activation(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        maps = self.conv(inputs)
        outputs: Tensor = self.act(self.bn(maps)) if self.is_norm_first else self.bn(self.act(maps))
        return outputs


class Inception(nn.Module):
    """Four branches side by side; where asked for, a skip with zero channels is added to what they give."""

    def __init__(
        self, in_channels: int, widths: Sequence[int], hidden: Hidden, *, large_kernel: int, has_skip: bool
    ) -> None:
        super().__init__()
        one, reduced, three, reduced_large, large, behind = widths
        self.branch1 = Convolution(in_channels, one, 1, hidden)
        self.branch2 = nn.Sequential(
            Convolution(in_channels, reduced, 1, hidden), Convolution(reduced, three, 3, hidden)
        )
        self.branch3 = nn.Sequential(
            Convolution(in_channels, reduced_large, 1, hidden), Convolution(reduced_large, large, large_kernel, hidden)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), Convolution(in_channels, behind, 1, hidden))
        self.out_channels = one + three + large + behind
        self.has_skip = has_skip
        if has_skip:
            self.skip = PaddedIdentity(in_channels, self.out_channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, C', H, W) of inputs (N, C, H, W)."""
        maps = torch.cat([self.branch1(inputs), self.branch2(inputs), self.branch3(inputs), self.branch4(inputs)], 1)
        return maps + self.skip(inputs) if self.has_skip else maps


class AuxiliaryClassifier(nn.Module):
    """Means over 4x4 places, a 1x1 convolution, a hidden dense layer, dropout, scores.

    The paper averages over 5x5 pixels with stride 3, which gives 4x4 places on its 14x14 maps; this takes any size.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: tuple[int, int], hidden: Hidden) -> None:
        super().__init__()
        maps, dense = widths
        self.conv = Convolution(in_channels, maps, 1, hidden)
        self.fc1 = nn.Linear(maps * AUXILIARY_SIDE**2, dense * hidden.widening)
        self.act = hidden.make_activation(dense)
        self.dropout = dropout_for(hidden.activation, AUXILIARY_DROPOUT, 0)
        self.fc2 = nn.Linear(dense, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of maps (N, C, H, W)."""
        places = self.conv(functional.adaptive_avg_pool2d(inputs, AUXILIARY_SIDE))
        scores: Tensor = self.fc2(self.dropout(self.act(self.fc1(places.flatten(1)))))
        return scores


class GoogLeNet(nn.Module):
    """Stem, nine modules with maxima between them, mean over all pixels, dropout, head.

    After a pass in training `auxiliary_scores` holds, for each auxiliary classifier, what its loss weighs and its
    scores (N, K): add weight times the loss of them to that of what the pass returns. In evaluation there are none.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden: Hidden,
        width: int = WIDTH,
        stem: Stem = "large",
        large_kernel: int = 3,
        has_skips: bool = False,
        auxiliary_weight: float = 0.3,
        dropout: float = 0.2,
        head: Head = "linear",
    ) -> None:
        super().__init__()
        self.in_channels, self.hidden, self.auxiliary_weight = in_channels, hidden, auxiliary_weight
        self.auxiliary_scores: tuple[tuple[float, Tensor], ...] = ()
        is_large = stem == "large"
        self.least_side = 32 if is_large else 4

        def scaled(channels: int) -> int:
            return max(4, 4 * round(channels * width / WIDTH / 4))

        self.conv1 = Convolution(in_channels, width, 7 if is_large else 3, hidden, stride=2 if is_large else 1)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True) if is_large else None
        self.conv2 = Convolution(width, width, 1, hidden)
        self.conv3 = Convolution(width, scaled(192), 3, hidden)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True) if is_large else None
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        channels, read = scaled(192), {}
        for name, widths in MODULES.items():
            module = Inception(
                channels, [scaled(wide) for wide in widths], hidden, large_kernel=large_kernel, has_skip=has_skips
            )
            self.add_module(f"inception{name}", module)
            channels = read[name] = module.out_channels
        self.dropout = dropout_for(hidden.activation, dropout, 0)
        self.fc = make_head(head, channels, num_classes, hidden)
        start_weights(self, head=self.fc, hidden=hidden)
        # A norm of the weights takes its start from a pass in evaluation, in which auxiliary classifiers have no part.
        beside = replace(hidden, norm="none") if "reparametrize" in norm_traits(hidden.norm) else hidden
        inside = scaled(AUXILIARY_WIDTH), scaled(AUXILIARY_DENSE)
        for name, auxiliary in AUXILIARIES.items() if auxiliary_weight > 0 else ():
            classifier = AuxiliaryClassifier(read[name], num_classes, inside, beside)
            start_weights(classifier, head=classifier.fc2, hidden=beside)
            self.add_module(auxiliary, classifier)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    @property
    def head(self) -> nn.Module:
        """What turns the last maps into scores."""
        return self.fc

    @property
    def training_only(self) -> tuple[str, ...]:
        """How the names of those parameters and buffers begin that evaluation never reads: the auxiliary classifiers'.

        >>> googlenet(3, 10, width=8).training_only, googlenet(3, 10, width=8, auxiliary_weight=0.0).training_only
        (('aux1.', 'aux2.'), ())
        """
        return tuple(f"{name}." for name in AUXILIARIES.values() if hasattr(self, name))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes: all but the scores of the last pass, which belong to its graph."""
        return {**self.__dict__, "auxiliary_scores": ()}

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps of images (N, C, H, W): (N, C', h, w)."""
        return self._maps(inputs)[0]

    def _maps(self, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the last feature maps, and those that the auxiliary classifiers read."""
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network="googlenet")
        maps: Tensor = self.conv1(inputs)
        if self.maxpool1 is not None:
            maps = self.maxpool1(maps)
        maps = self.conv3(self.conv2(maps))
        if self.maxpool2 is not None:
            maps = self.maxpool2(maps)
        read: dict[str, Tensor] = {}
        for name in MODULES:
            if name == "4a":
                maps = self.maxpool3(maps)
            elif name == "5a":
                maps = self.maxpool4(maps)
            maps = getattr(self, f"inception{name}")(maps)
            if name in AUXILIARIES:
                read[AUXILIARIES[name]] = maps
        return maps, read

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        maps, read = self._maps(inputs)
        weight, auxiliaries = self.auxiliary_weight, read.items() if self.training and self.auxiliary_weight > 0 else ()
        self.auxiliary_scores = tuple((weight, getattr(self, name)(maps_there)) for name, maps_there in auxiliaries)
        return pooled_scores(self.fc, maps, self.dropout)


@models.card(
    source="Szegedy et al. 2015, arXiv:1409.4842; Ioffe & Szegedy 2015, arXiv:1502.03167",
    small={"width": 8, "stem": "small", "dropout": 0.0},
)
def googlenet(
    in_channels: int,
    num_classes: int,
    *,
    width: Count = WIDTH,
    stem: Stem = "large",
    large_kernel: Literal[3, 5] = 3,
    skips: bool = False,
    auxiliary_weight: Amount = 0.3,
    dropout: ProperFraction = 0.2,
    activation: Activation = "relu",
    norm: Norm = NORM,
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> GoogLeNet:
    """GoogLeNet: 22 layers of parallel branches, with two auxiliary classifiers that only training sees.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    With batch norm and 3x3 in place of 5x5 convolutions it is torchvision's; `norm=none,large_kernel=5` is the paper's,
    but for its local response norms.

    Args:
        in_channels: C.
        num_classes: K.
        width: channels of the first convolution; all others are in proportion, in multiples of 4.
        stem: large takes images from 32x32 and leaves 1/32 of each side; small, without subsampling, from 4x4.
        large_kernel: side of the larger convolutions, 5 as published, 3 as in torchvision.
        skips: whether a skip goes around each module, its missing channels zero; not published.
        auxiliary_weight: what the loss of each auxiliary classifier counts beside that of the scores; 0 builds none.
        dropout: share of the pooled features zeroed in training; 0.4 as published.
        activation: of every convolution, and of the hidden layers of the auxiliary classifiers.
        norm: of every convolution.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Cures, by its auxiliary classifiers, gradients that fade on the way to the first layers, where there is no norm.
    (Published: ImageNet top-5 error 6.67 % by an ensemble.)

    >>> googlenet(3, 10, width=8, stem="small").eval()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return GoogLeNet(
        in_channels,
        num_classes,
        hidden=Hidden(activation, norm, norm_order),
        width=width,
        stem=stem,
        large_kernel=large_kernel,
        has_skips=skips,
        auxiliary_weight=auxiliary_weight,
        dropout=dropout,
        head=head,
    )
