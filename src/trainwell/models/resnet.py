"""Residual networks: a stem, stages of units with a skip around each, a mean over all pixels, and a head.

`resnet` is the form for photographs of 224x224, `cifar_resnet` the one for small images. Parameter names are
torchvision's (`conv1`, `bn1`, `layer1.0.conv1`, `layer2.0.downsample.0`, ..., `fc`), so that published weights load.

Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, table 1 and section 4.2;
Zagoruyko & Komodakis 2016, arXiv:1605.07146 (wide bottlenecks).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, Unit
from trainwell.errors import OptionInvalid
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.layers.stochastic_depth import Drop, linear_survival
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.presets import preset
from trainwell.models.residual import Shortcut, StrideAt, UnitForm, UnitKind, convolution, stages
from trainwell.models.weights import start_weights, starter

SOURCE = "He et al. 2016, arXiv:1512.03385"
WIDE_SOURCE = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"
PUBLISHED: dict[int, tuple[UnitKind, tuple[int, ...]]] = {  # table 1: the units of each stage
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
CIFAR_WIDTH = 16  # channels of its first stage
LAYERS = {"basic": 2, "bottleneck": 3}  # with weights, of a unit

Stem = Literal["large", "small"]
Depth = Annotated[int, Ge(8), Unit("layers with weights, 6n + 2, or 9n + 2 of bottlenecks")]
Survival = Annotated[float, Gt(0), Le(1), Unit("share of the steps in which the last unit is there")]


@dataclass(frozen=True)
class Layout:
    """The sizes of a residual network.

    Attributes:
        name: what it is called in errors.
        units: of each stage.
        width: channels of the 3x3 convolutions of the first stage; each further stage doubles them.
        stem: large, 7x7 with stride 2 and a maximum over 3x3 with stride 2, or small, 3x3 with stride 1.
    """

    name: str
    units: tuple[int, ...]
    width: int
    stem: Stem = "small"

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the 3x3 convolutions of each stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.units)))

    @property
    def least_side(self) -> int:
        """Pixels that leave one, after every halving, that was not invented by padding."""
        return int(2 ** (len(self.units) - 1)) * (4 if self.stem == "large" else 1)


class ResNet(nn.Module):
    """Stem, stages of residual units that double the channels and halve the maps, mean over all pixels, head.

    Args:
        in_channels: C.
        num_classes: K.
        layout: its sizes.
        form: what its units have in common.
        head: what turns the last maps into scores.
        survival: how often the last unit is there in training; it falls linearly from the first unit to the last.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        layout: Layout,
        form: UnitForm,
        head: Head = "linear",
        survival: float = 1.0,
    ) -> None:
        super().__init__()
        self.hidden = hidden = form.hidden
        self.in_channels = in_channels
        self.layout, self.form = layout, form
        kernel, stride = (7, 2) if layout.stem == "large" else (3, 1)
        self.conv1 = convolution(in_channels, layout.width, kernel, stride, hidden)
        self.bn1 = hidden.make_norm(layout.width, 2)
        self.act1 = hidden.make_activation(layout.width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if layout.stem == "large" else None
        survivals = linear_survival(sum(layout.units), survival)
        for number, stage in enumerate(stages(layout.width, layout.widths, layout.units, form, survivals), 1):
            self.add_module(f"layer{number}", stage)
        self.fc = make_head(head, layout.widths[-1] * form.expansion, num_classes, hidden)
        start_weights(self, head=self.fc, hidden=hidden)

    @property
    def start_on(self) -> Callable[[Tensor], object] | None:
        """What takes first weights from training inputs, where the norm needs some."""
        return starter(self, self.hidden)

    @property
    def head(self) -> nn.Module:
        """What turns the last maps into scores."""
        return self.fc

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The stages, each a sequence of units."""
        return tuple(getattr(self, f"layer{number}") for number in range(1, len(self.layout.units) + 1))

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps of images (N, C, H, W): (N, C', h, w)."""
        name, least = self.layout.name, self.layout.least_side
        require_images(inputs, in_channels=self.in_channels, least_side=least, network=name)
        maps: Tensor = self.conv1(inputs)
        maps = self.act1(self.bn1(maps)) if self.hidden.is_norm_first else self.bn1(self.act1(maps))
        if self.maxpool is not None:
            maps = self.maxpool(maps)
        for stage in self.stages:
            maps = stage(maps)
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        return pooled_scores(self.fc, self.maps(inputs))


@models.card(source=f"{SOURCE}, table 1", small={"depth": 18, "width": 8, "stem": "small"}, least_side=16)
def resnet(
    in_channels: int,
    num_classes: int,
    *,
    depth: Literal[18, 34, 50, 101, 152] = 18,
    width: Count = 64,
    stem: Stem = "large",
    shortcut: Shortcut = "B",
    stride_at: StrideAt = "middle",
    bottleneck_width: Count = 1,
    survival: Survival = 1.0,
    drop: Drop = "batch",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> ResNet:
    """Residual network for photographs, of 18 to 152 layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    Up to 34 layers a unit has two 3x3 convolutions; from 50 on it is a bottleneck, 1x1, 3x3, 1x1 to four times the
    channels. Differs from the published table in one place, as torchvision does: bottlenecks subsample in their 3x3
    convolution, not in the first ("v1.5": more accurate, and 6 % more operations); `stride_at=first` is as published.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights.
        width: channels of the first stage; each of the three others doubles them.
        stem: large takes images from 32x32 and leaves 1/32 of each side; small, without subsampling, from 8x8.
        shortcut: the skip where the shape changes: A (zero channels), pooled (means, zero channels), B (1x1
            convolution); C is the latter at all units.
        stride_at: which convolution of a bottleneck subsamples; of the others it is the first.
        bottleneck_width: how many times wider than published a bottleneck is inside.
        survival: how often the last unit is there in training; 0.5 is as published, 1 leaves none out.
        drop: whether a unit is left out for a whole batch, as published, or for each sample.
        activation: of every convolution; where the norm stands before it, the last one's acts on the sum.
        norm: of every convolution.
        norm_order: the norm before or after the activation; after it, the sum is handed on as it is.
        head: linear, conv, mlp or cosine.

    Cures the degradation of deep plain nets. (Published: ImageNet top-5 error 3.57 % by an ensemble.)

    >>> import torch
    >>> resnet(3, 10, width=8)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    kind, units = PUBLISHED[depth]
    if bottleneck_width > 1 and kind == "basic":
        raise OptionInvalid(
            f"resnet:bottleneck_width is of bottlenecks, and {depth} layers have none: take depth=50 or more, or width"
        )
    hidden = Hidden(activation, norm, norm_order)
    form = UnitForm(hidden, kind, shortcut, stride_at=stride_at, inner=bottleneck_width, drop=drop)
    layout = Layout(f"resnet{depth}", units, width, stem)
    return ResNet(in_channels, num_classes, layout=layout, form=form, head=head, survival=survival)


@models.card(source=f"{SOURCE}, section 4.2", small={"depth": 8})
def cifar_resnet(
    in_channels: int,
    num_classes: int,
    *,
    depth: Depth = 20,
    unit: UnitKind = "basic",
    width: Count = CIFAR_WIDTH,
    shortcut: Shortcut = "A",
    survival: Survival = 1.0,
    drop: Drop = "batch",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> ResNet:
    """Residual network for small images, of any depth 6n + 2.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    Shortcuts where the shape changes: A is parameter-free (every second pixel, missing channels zero), B a 1x1
    convolution with the norm. The paper does not say where A puts its zero channels: here half in front, half
    behind. Without a norm, what the units add up to grows with depth.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights, 6n + 2, or 9n + 2 of bottlenecks.
        unit: basic, two 3x3 convolutions, or bottleneck, 1x1, 3x3 and 1x1 to four times the channels.
        width: channels of the 3x3 convolutions of the first stage; the others double them.
        shortcut: A, B, C (B at all units) or pooled (means of 2x2 pixels, missing channels zero).
        survival: how often the last unit is there in training (stochastic depth); 0.5 is as published.
        drop: whether a unit is left out for a whole batch, as published, or for each sample.
        activation: of every convolution; where the norm stands before it, the last one's acts on the sum.
        norm: of every convolution.
        norm_order: the norm before or after the activation; after it, the sum is handed on as it is.
        head: linear, conv, mlp or cosine.

    Cures the degradation of deep plain nets: training error falls with depth instead of rising.
    Costs, at 32x32, 41 million multiply-adds an image for 20 layers, 14 million for each 6 more.

    >>> import torch
    >>> net = cifar_resnet(3, 10, depth=8)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    units = units_per_stage(depth, 3 * LAYERS[unit], network="cifar_resnet", unit=f"{LAYERS[unit]}-layer units")
    form = UnitForm(Hidden(activation, norm, norm_order), unit, shortcut, drop=drop)
    layout = Layout(f"resnet{depth}", (units,) * 3, width)
    return ResNet(in_channels, num_classes, layout=layout, form=form, head=head, survival=survival)


def units_per_stage(depth: int, layers: int, *, network: str, unit: str, others: int = 2) -> int:
    """Return n of a depth of three stages, n units each.

    Args:
        depth: layers with weights.
        layers: of one unit of each stage together.
        network: whose option depth is.
        unit: its units in words.
        others: layers that are in no unit.

    Raises:
        OptionInvalid: no n gives this depth; the message has the nearest that do.
    """
    units, rest = divmod(depth - others, layers)
    if rest or units < 1:
        below = max(layers + others, layers * units + others)
        raise OptionInvalid(
            f"{network}:depth must be {layers}n + {others} (three stages of n {unit}, and {others} other layers), "
            f"got {depth}: take {below} or {below + layers}"
        )
    return units


def _of_table(depth: int, *, name: str = "", summary: str = "", width: int | None = None) -> Callable[..., nn.Module]:
    is_basic = PUBLISHED[depth][0] == "basic"
    fixed = {"depth": depth, "stride_at": None, "bottleneck_width": None} if is_basic else {"depth": depth}
    if width is not None:
        fixed["bottleneck_width"] = width
    return preset(
        resnet,
        name or f"resnet{depth}",
        summary or f"Residual network of {depth} layers for photographs, as in torchvision.",
        source=f"{SOURCE}, table 1" if width is None else WIDE_SOURCE,
        fixed=fixed,
    )


def _of_cifar(depth: int, error: str) -> Callable[..., nn.Module]:
    summary = f"Residual network of {depth} layers for small images ({error} % error on CIFAR-10 in the paper)."
    fixed = {"depth": depth, "unit": "basic", "width": CIFAR_WIDTH}
    return preset(cifar_resnet, f"resnet{depth}", summary, source=f"{SOURCE}, section 4.2", fixed=fixed)


resnet18, resnet34, resnet50, resnet101, resnet152 = map(_of_table, PUBLISHED)
wide_resnet50_2, wide_resnet101_2 = (
    _of_table(
        depth,
        name=f"wide_resnet{depth}_2",
        summary=f"Residual network of {depth} layers whose bottlenecks are twice as wide inside, as in torchvision.",
        width=2,
    )
    for depth in (50, 101)
)
resnet20 = _of_cifar(20, "8.75")
resnet32 = _of_cifar(32, "7.51")
resnet44 = _of_cifar(44, "7.17")
resnet56 = _of_cifar(56, "6.97")
resnet110 = _of_cifar(110, "6.43")
resnet1202 = _of_cifar(1202, "7.93")
