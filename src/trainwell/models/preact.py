"""Pre-activation residual networks: norm and activation stand before each convolution, so that skips are untouched.

    y = x + conv2(act2(bn2(conv1(act1(bn1(x))))))        x_b = x_a + the sum of all branches between a and b

Where the shape changes, the skip is a 1x1 convolution of act1(bn1(x)), which the branch shares with it; so is the input
of the first unit. Behind the last unit stand one more norm and activation. Behind a large stem they stand before its
maximum, and the first unit begins with its convolution. Wide residual networks are the same with many channels and few
units.

Source: He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, figure 4e and appendix;
Zagoruyko & Komodakis 2016, "Wide residual networks", arXiv:1605.07146.
"""

from collections.abc import Callable

from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction
from trainwell.layers.choosing import make_activation
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.layers.stochastic_depth import Drop, linear_survival
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.presets import preset
from trainwell.models.residual import PaddedIdentity, PooledIdentity, Shortcut, StrideAt, UnitForm, UnitKind
from trainwell.models.resnet import CIFAR_WIDTH, LAYERS, Depth, Layout, Survival, units_per_stage
from trainwell.models.weights import start_weights, starter

SOURCE = "He et al. 2016, arXiv:1603.05027"
WIDE_SOURCE = "Zagoruyko & Komodakis 2016, arXiv:1605.07146"


class PreActivation(nn.Sequential):
    """Norm and activation in front of a layer, in either order; what goes in stays as it is, for the skip.

    Args:
        channels: that come out; an activation of several pieces takes as many times more.
        hidden: the norm, the activation and their order.
    """

    def __init__(self, channels: int, hidden: Hidden) -> None:
        norm = hidden.make_norm(channels, 2)
        is_fresh = hidden.is_norm_first and not isinstance(norm, nn.Identity)
        activation = hidden.make_activation(channels) if is_fresh else make_activation(hidden.activation, channels)
        super().__init__()
        pair = (("bn", norm), ("act", activation))
        for name, module in pair if hidden.is_norm_first else pair[::-1]:
            self.add_module(name, module)


class PreActUnit(nn.Module):
    """A residual unit of two or three layers norm -> activation -> convolution.

    An activation of several pieces makes everything that it reads as many times wider, the skips too.

    Args:
        in_channels: C of the input, as activations give them.
        out_channels: C of the output.
        stride: of the subsampling, 1 or 2.
        form: what all units have in common.
        survival: how often its branch is there in training.
        is_first: whether its input is the stem's, of which the skip takes what the first activation gives.
        is_activated: whether its input is what an activation gave, so that it begins with a convolution.
    """

    pre1: nn.Module
    conv1: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        form: UnitForm,
        survival: float = 1.0,
        is_first: bool = False,
        is_activated: bool = False,
    ) -> None:
        super().__init__()
        hidden = form.hidden
        self.widening = hidden.widening
        self.in_channels, self.out_channels = in_channels * self.widening, out_channels * self.widening
        inner = out_channels // form.expansion
        layers: tuple[tuple[int, int, int, int], ...] = ((in_channels, inner, 3, stride), (inner, out_channels, 3, 1))
        if form.kind == "bottleneck":
            first, middle = (stride, 1) if form.stride_at == "first" else (1, stride)
            layers = ((in_channels, inner, 1, first), (inner, inner, 3, middle), (inner, out_channels, 1, 1))
        self.depth = len(layers)
        for number, (channels, wide, kernel, step) in enumerate(layers, 1):
            is_bare = is_activated and number == 1
            self.add_module(f"pre{number}", nn.Identity() if is_bare else PreActivation(channels, hidden))
            self.add_module(f"conv{number}", _convolution(channels, wide, kernel, step, hidden))
        self.dropout = dropout_for(hidden.activation, form.dropout, 0) if form.dropout > 0 else None
        changes = stride != 1 or in_channels != out_channels or form.shortcut == "C"
        self.is_shared = is_first or (changes and form.shortcut in ("B", "C"))
        self.downsample: nn.Module | None = None
        if changes and form.shortcut in ("B", "C"):
            self.downsample = _convolution(in_channels, out_channels, 1, stride, hidden)
        elif changes:
            padded = PaddedIdentity if form.shortcut == "A" else PooledIdentity
            self.downsample = padded(self.in_channels, self.out_channels, stride)
        self.chance = form.chance(survival)

    @property
    def last(self) -> tuple[nn.Module, nn.Module]:
        """The last convolution of the branch; behind it stands no norm."""
        convolution: nn.Module = getattr(self, f"conv{self.depth}")
        return convolution, nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        shared = self.pre1(inputs) if self.is_shared else None
        skip = self._skip(inputs if shared is None else shared)
        if self.chance is not None and self.chance.leaves_out():
            return skip
        branch: Tensor = self.conv1(self.pre1(inputs) if shared is None else shared)
        for number in range(2, self.depth + 1):
            branch = getattr(self, f"pre{number}")(branch)
            if self.dropout is not None and number == self.depth:
                branch = self.dropout(branch)
            branch = getattr(self, f"conv{number}")(branch)
        return skip + branch if self.chance is None else skip + self.chance(branch)

    def _skip(self, before: Tensor) -> Tensor:
        if self.is_shared and self.widening > 1 and not isinstance(self.downsample, nn.Conv2d):
            before = before.repeat_interleave(self.widening, 1)  # (N, C, H, W) -> (N, C k, H, W)
        skip: Tensor = before if self.downsample is None else self.downsample(before)
        return skip


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int, hidden: Hidden) -> nn.Conv2d:
    wide = out_channels * hidden.widening
    return nn.Conv2d(in_channels, wide, kernel, stride, padding=kernel // 2, bias=hidden.needs_bias)


class PreActResNet(nn.Module):
    """Stem, stages of pre-activation units, norm and activation, mean over all pixels, head.

    Args:
        in_channels: C.
        num_classes: K.
        layout: its sizes; `widths` are those of the stages.
        stem_width: channels of the stem.
        form: what its units have in common.
        head: what turns the last maps into scores.
        survival: how often the last unit is there in training.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        layout: Layout,
        stem_width: int,
        form: UnitForm,
        head: Head = "linear",
        survival: float = 1.0,
    ) -> None:
        super().__init__()
        self.hidden = hidden = form.hidden
        self.in_channels, self.layout, self.form = in_channels, layout, form
        survivals = iter(linear_survival(sum(layout.units), survival))
        is_large = layout.stem == "large"
        self.conv1 = _convolution(in_channels, stem_width, 7 if is_large else 3, 2 if is_large else 1, hidden)
        if is_large:
            self.first = PreActivation(stem_width, hidden)
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = stem_width
        for stage, (width, count) in enumerate(zip(layout.widths, layout.units, strict=True)):
            units: list[nn.Module] = []
            for unit in range(count):
                stride, out_channels = 2 if unit == 0 and stage > 0 else 1, width * form.expansion
                first = stage == unit == 0
                units.append(
                    PreActUnit(
                        channels,
                        out_channels,
                        stride=stride,
                        form=form,
                        survival=next(survivals),
                        is_first=first,
                        is_activated=first and is_large,
                    )
                )
                channels = out_channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))
        self.last = PreActivation(channels, hidden)
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

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The stages, each a sequence of units."""
        return tuple(getattr(self, f"layer{number}") for number in range(1, len(self.layout.units) + 1))

    def maps(self, inputs: Tensor) -> Tensor:
        """Return the last feature maps of images (N, C, H, W): (N, C', h, w)."""
        name, least = self.layout.name, self.layout.least_side
        require_images(inputs, in_channels=self.in_channels, least_side=least, network=name)
        maps: Tensor = self.conv1(inputs)
        if self.layout.stem == "large":
            maps = self.maxpool(self.first(maps))
        for stage in self.stages:
            maps = stage(maps)
        outputs: Tensor = self.last(maps)
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        return pooled_scores(self.fc, self.maps(inputs))


@models.card(source=f"{SOURCE}, figure 4e", small={"depth": 8})
def preact(
    in_channels: int,
    num_classes: int,
    *,
    depth: Depth = 20,
    unit: UnitKind = "basic",
    shortcut: Shortcut = "B",
    stride_at: StrideAt = "first",
    survival: Survival = 1.0,
    drop: Drop = "batch",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> PreActResNet:
    """Pre-activation residual network for small images: nothing stands on its skips, up to a thousand layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights, 6n + 2, or 9n + 2 of bottlenecks.
        unit: basic, two 3x3 convolutions, or bottleneck, 1x1, 3x3 and 1x1 to four times the channels.
        shortcut: the skip where the shape changes: A (every second pixel, missing channels zero), pooled (means
            instead), B (1x1 convolution of the first activation); C is the latter at all units.
        stride_at: which convolution of a bottleneck subsamples; the first, as published, or the 3x3.
        survival: how often the last unit is there in training (stochastic depth).
        drop: whether a unit is left out for a whole batch, as published, or for each sample.
        activation: before every convolution but the stem.
        norm: before or after each of these activations.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Cures what an activation on the skip does to very deep networks. (Published errors on CIFAR-10: 110 layers 6.61 %
    to 6.37 %, 164 layers 5.93 % to 5.46 %, 1001 layers 7.61 % to 4.92 %.)

    >>> import torch
    >>> preact(3, 10, depth=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    units = units_per_stage(depth, 3 * LAYERS[unit], network="preact", unit=f"{LAYERS[unit]}-layer units")
    form = UnitForm(Hidden(activation, norm, norm_order), unit, shortcut, stride_at=stride_at, drop=drop)
    layout = Layout(f"preact{depth}", (units,) * 3, CIFAR_WIDTH)
    return PreActResNet(
        in_channels, num_classes, layout=layout, stem_width=CIFAR_WIDTH, form=form, head=head, survival=survival
    )


@models.card(source=WIDE_SOURCE, small={"depth": 10, "widening": 1})
def wide_resnet(
    in_channels: int,
    num_classes: int,
    *,
    depth: Depth = 16,
    widening: Count = 4,
    dropout: ProperFraction = 0.0,
    survival: Survival = 1.0,
    drop: Drop = "batch",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> PreActResNet:
    """Wide residual network: few pre-activation units of many channels, for small images.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights, 6n + 4: the 1x1 skips of three stages are counted.
        widening: k; the stages have 16 k, 32 k and 64 k channels.
        dropout: share of the numbers between a unit's two convolutions that is zeroed in training.
        survival: how often the last unit is there in training (stochastic depth).
        drop: whether a unit is left out for a whole batch, as published, or for each sample.
        activation: before every convolution but the stem.
        norm: before or after each of these activations.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Cures the slowness of thin deep networks: wide layers keep a machine busy. (Published: 4.00 % error on CIFAR-10 of
    28 layers, k = 10.) Costs: parameters and operations grow with k squared.

    >>> import torch
    >>> wide_resnet(3, 10, depth=10, widening=2)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    units = units_per_stage(depth, 6, network="wide_resnet", unit="two-layer units", others=4)
    form = UnitForm(Hidden(activation, norm, norm_order), drop=drop, dropout=dropout)
    layout = Layout(f"wide_resnet{depth}x{widening}", (units,) * 3, CIFAR_WIDTH * widening)
    return PreActResNet(
        in_channels, num_classes, layout=layout, stem_width=CIFAR_WIDTH, form=form, head=head, survival=survival
    )


def _preset(depth: int, unit: UnitKind, error: str) -> Callable[..., nn.Module]:
    summary = f"Pre-activation residual network of {depth} layers ({error} % error on CIFAR-10 in the paper)."
    fixed = {"depth": depth, "unit": unit} | ({"stride_at": None} if unit == "basic" else {})
    return preset(preact, f"preact{depth}", summary, source=SOURCE, fixed=fixed)


preact110 = _preset(110, "basic", "6.37")
preact164 = _preset(164, "bottleneck", "5.46")
preact1001 = _preset(1001, "bottleneck", "4.92")
wide_resnet28_10 = preset(
    wide_resnet,
    "wide_resnet28_10",
    "Wide residual network of 28 layers, ten times as wide (4.00 % error on CIFAR-10 in the paper).",
    source=WIDE_SOURCE,
    fixed={"depth": 28, "widening": 10},
)
