"""Residual networks for small images: three stages of two-layer units, each with a skip around it.

Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, section 4.2.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Unit
from trainwell.errors import OptionInvalid
from trainwell.layers.choosing import make_norm
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.inputs import require_images
from trainwell.models.weights import start_weights, starter

SOURCE = "He et al. 2016, arXiv:1512.03385, section 4.2"
WIDTHS = (16, 32, 64)
LEAST_SIDE = 4  # two halvings must leave at least one pixel that was not invented by padding

Shortcut = Literal["A", "B"]
Depth = Annotated[int, Ge(8), Unit("layers with weights, 6n + 2")]


class PaddedIdentity(nn.Module):
    """Shortcut A: every second pixel, and zero channels added half in front and half behind; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.front = (out_channels - in_channels) // 2
        self.behind = out_channels - in_channels - self.front

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        kept = inputs[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, self.front, self.behind))


class BasicUnit(nn.Module):
    """Two convolutions with their norms and activations, around which x' goes, the input or its shortcut.

        norm before:    y = act2(x' + bn2(conv2(act1(bn1(conv1(x))))))
        norm after:     y = x' + bn2(act2(conv2(bn1(act1(conv1(x))))))

    So the skip itself is never normalized. An activation of several pieces meets x' in each of its pieces.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, shortcut: Shortcut, hidden: Hidden) -> None:
        super().__init__()
        self.is_norm_first, self.widening = hidden.is_norm_first, hidden.widening
        self.conv1 = _convolution(in_channels, out_channels, stride, hidden)
        self.bn1 = hidden.make_norm(out_channels, 2)
        self.act1 = hidden.make_activation(out_channels)
        self.conv2 = _convolution(out_channels, out_channels, 1, hidden)
        self.bn2 = hidden.make_norm(out_channels, 2)
        self.act2 = hidden.make_activation(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = _shortcut(in_channels, out_channels, stride, shortcut, hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        skip = inputs if self.downsample is None else self.downsample(inputs)
        outputs: Tensor
        if self.is_norm_first:
            branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(inputs)))))
            if self.widening > 1:
                skip = skip.repeat_interleave(self.widening, 1)  # (N, C, H, W) -> (N, C k, H, W)
            outputs = self.act2(branch.add_(skip))
        else:
            branch = self.bn1(self.act1(self.conv1(inputs)))
            outputs = skip + self.bn2(self.act2(self.conv2(branch)))
        return outputs


def _convolution(in_channels: int, out_channels: int, stride: int, hidden: Hidden) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels * hidden.widening, 3, stride, padding=1, bias=hidden.needs_bias)


def _shortcut(in_channels: int, out_channels: int, stride: int, shortcut: Shortcut, hidden: Hidden) -> nn.Module:
    if shortcut == "A":
        return PaddedIdentity(in_channels, out_channels, stride)
    projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=not hidden.replaces_bias)
    return nn.Sequential(projection, make_norm(hidden.norm, out_channels, 2))


class CifarResNet(nn.Module):
    """3x3 stem, three stages of n units at 16, 32, 64 channels, mean over all pixels, one dense layer.

    Parameter names are torchvision's (`conv1`, `bn1`, `layer1.0.conv1`, ..., `fc`). Takes any image
    size from 4x4; meant for 32x32.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        depth: int,
        shortcut: Shortcut = "A",
        activation: str = "relu",
        norm: str = "batch",
        norm_order: NormOrder = "before",
    ) -> None:
        super().__init__()
        units = _units_per_stage(depth)
        self.hidden = hidden = Hidden(activation, norm, norm_order)
        self.in_channels = in_channels
        self.name = f"resnet{depth}"
        self.conv1 = _convolution(in_channels, WIDTHS[0], 1, hidden)
        self.bn1 = hidden.make_norm(WIDTHS[0], 2)
        self.act1 = hidden.make_activation(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], units, stride=1, shortcut=shortcut, hidden=hidden)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], units, stride=2, shortcut=shortcut, hidden=hidden)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], units, stride=2, shortcut=shortcut, hidden=hidden)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        start_weights(self, head=self.fc, hidden=hidden)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        require_images(inputs, in_channels=self.in_channels, least_side=LEAST_SIDE, network=self.name)
        maps = self.conv1(inputs)
        maps = self.act1(self.bn1(maps)) if self.hidden.is_norm_first else self.bn1(self.act1(maps))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        scores: Tensor = self.fc(maps.mean((2, 3)))  # (N, 64, H/4, W/4) -> (N, 64) -> (N, K)
        return scores


def _stage(
    in_channels: int, out_channels: int, units: int, *, stride: int, shortcut: Shortcut, hidden: Hidden
) -> nn.Sequential:
    first = BasicUnit(in_channels, out_channels, stride=stride, shortcut=shortcut, hidden=hidden)
    rest = (BasicUnit(out_channels, out_channels, stride=1, shortcut=shortcut, hidden=hidden) for _ in range(units - 1))
    return nn.Sequential(first, *rest)


def _units_per_stage(depth: int) -> int:
    units, rest = divmod(depth - 2, 6)
    if rest or units < 1:
        below = max(8, 6 * units + 2)
        raise OptionInvalid(
            f"cifar_resnet:depth must be 6n + 2 (three stages of n two-layer units, a stem and a head), "
            f"got {depth}: take {below} or {below + 6}"
        )
    return units


@models.card(source=SOURCE)
def cifar_resnet(
    in_channels: int,
    num_classes: int,
    *,
    depth: Depth = 20,
    shortcut: Shortcut = "A",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
) -> CifarResNet:
    """Residual network for small images, of any depth 6n + 2.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    Shortcuts where the shape changes: A is parameter-free (every second pixel, missing channels zero), B a 1x1
    convolution with the norm. The paper does not say where A puts its zero channels: here half in front, half
    behind. Without a norm, what the units add up to grows with depth.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights, 6n + 2.
        shortcut: A or B.
        activation: of every convolution; where the norm stands before it, the second one's acts on the sum.
        norm: of every convolution.
        norm_order: the norm before or after the activation; after it, the sum is handed on as it is.

    Cures the degradation of deep plain nets: training error falls with depth instead of rising.
    Costs, at 32x32, 41 million multiply-adds an image for 20 layers, 14 million for each 6 more.

    >>> import torch
    >>> net = cifar_resnet(3, 10, depth=8)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return CifarResNet(
        in_channels,
        num_classes,
        depth=depth,
        shortcut=shortcut,
        activation=activation,
        norm=norm,
        norm_order=norm_order,
    )


def _put(depth: int, summary: str) -> Callable[..., CifarResNet]:
    def build(
        in_channels: int,
        num_classes: int,
        *,
        shortcut: Shortcut = "A",
        activation: Activation = "relu",
        norm: Norm = "batch",
        norm_order: NormOrder = "before",
    ) -> CifarResNet:
        return cifar_resnet(
            in_channels,
            num_classes,
            depth=depth,
            shortcut=shortcut,
            activation=activation,
            norm=norm,
            norm_order=norm_order,
        )

    build.__name__ = build.__qualname__ = f"resnet{depth}"
    build.__doc__ = summary
    return models.card(source=SOURCE)(build)


resnet20 = _put(20, "Residual network of 20 layers for small images (8.75 % error on CIFAR-10 in the paper).")
resnet32 = _put(32, "Residual network of 32 layers for small images (7.51 % error on CIFAR-10 in the paper).")
resnet44 = _put(44, "Residual network of 44 layers for small images (7.17 % error on CIFAR-10 in the paper).")
resnet56 = _put(56, "Residual network of 56 layers for small images (6.97 % error on CIFAR-10 in the paper).")
resnet110 = _put(110, "Residual network of 110 layers for small images (6.43 % error on CIFAR-10 in the paper).")
