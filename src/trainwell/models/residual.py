"""Residual units: a branch of two or three convolutions, and the skip around it that is added to what it gives.

Skips are the input itself wherever the shape stays. Where it changes they are

    A        every second pixel, and zero channels: no parameters
    pooled   means of 2x2 pixels, and zero channels: no parameters
    B        a 1x1 convolution with the norm
    C        the same, at every unit

Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, figures 2 and 5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from trainwell.layers.choosing import make_norm
from trainwell.layers.hidden import Hidden
from trainwell.layers.stochastic_depth import Drop, StochasticDepth

Shortcut = Literal["A", "B", "C", "pooled"]
UnitKind = Literal["basic", "bottleneck"]
StrideAt = Literal["first", "middle"]
EXPANSION = {"basic": 1, "bottleneck": 4}  # channels that a unit gives, of those of its 3x3 convolution


@dataclass(frozen=True)
class UnitForm:
    """What all residual units of a network have in common.

    Attributes:
        hidden: their norm and activation.
        kind: two 3x3 convolutions, or a 3x3 convolution between two of 1x1.
        shortcut: the skip where the shape changes.
        stride_at: the convolution of a bottleneck that subsamples: the first, as published, or the 3x3.
        inner: how many times wider than usual a bottleneck is inside.
        drop: what is drawn together, where units survive by chance.
        dropout: share of the numbers between the convolutions that is zeroed in training.
    """

    hidden: Hidden
    kind: UnitKind = "basic"
    shortcut: Shortcut = "B"
    stride_at: StrideAt = "middle"
    inner: int = 1
    drop: Drop = "batch"
    dropout: float = 0.0

    @property
    def expansion(self) -> int:
        """How many channels a unit gives for each of its 3x3 convolution."""
        return EXPANSION[self.kind]

    def chance(self, survival: float) -> StochasticDepth | None:
        """Return the chance of a unit, where it has one."""
        return StochasticDepth(survival, self.drop) if survival < 1 else None


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


class PooledIdentity(nn.Module):
    """Shortcut of means over stride x stride pixels, with zero channels half in front and half behind."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)
        self.padded = PaddedIdentity(in_channels, out_channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        padded: Tensor = self.padded(self.pool(inputs))
        return padded


class BasicUnit(nn.Module):
    """Two convolutions with their norms and activations, around which x' goes, the input or its shortcut.

        norm before:    y = act2(x' + bn2(conv2(act1(bn1(conv1(x))))))
        norm after:     y = x' + bn2(act2(conv2(bn1(act1(conv1(x))))))

    So the skip itself is never normalized. An activation of several pieces meets x' in each of its pieces.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, form: UnitForm, survival: float = 1.0
    ) -> None:
        super().__init__()
        hidden = form.hidden
        self.in_channels, self.out_channels = in_channels, out_channels
        self.is_norm_first, self.widening = hidden.is_norm_first, hidden.widening
        self.conv1 = convolution(in_channels, out_channels, 3, stride, hidden)
        self.bn1 = hidden.make_norm(out_channels, 2)
        self.act1 = hidden.make_activation(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3, 1, hidden)
        self.bn2 = hidden.make_norm(out_channels, 2)
        self.act2 = hidden.make_activation(out_channels)
        self.downsample = shortcut_for(in_channels, out_channels, stride, form)
        self.chance = form.chance(survival)

    @property
    def last(self) -> tuple[nn.Module, nn.Module]:
        """The last convolution of the branch and its norm."""
        return self.conv2, self.bn2

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        skip = inputs if self.downsample is None else self.downsample(inputs)
        outputs: Tensor
        if self.chance is not None and self.chance.leaves_out():
            outputs = _only_skip(skip, self)
        elif self.is_norm_first:
            branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(inputs)))))
            outputs = self.act2(_sum(branch, skip, self))
        else:
            branch = self.bn1(self.act1(self.conv1(inputs)))
            branch = self.bn2(self.act2(self.conv2(branch)))
            outputs = skip + (branch if self.chance is None else self.chance(branch))
        return outputs


class Bottleneck(nn.Module):
    """A 1x1 convolution to fewer channels, a 3x3 one there, and a 1x1 one back to four times as many; see BasicUnit.

    norm before:    y = act3(x' + bn3(conv3(act2(bn2(conv2(act1(bn1(conv1(x)))))))))
    norm after:     y = x' + bn3(act3(conv3(bn2(act2(conv2(bn1(act1(conv1(x)))))))))
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, form: UnitForm, survival: float = 1.0
    ) -> None:
        super().__init__()
        hidden, inner = form.hidden, out_channels // form.expansion * form.inner
        self.in_channels, self.out_channels = in_channels, out_channels
        self.is_norm_first, self.widening = hidden.is_norm_first, hidden.widening
        first, middle = (stride, 1) if form.stride_at == "first" else (1, stride)
        self.conv1 = convolution(in_channels, inner, 1, first, hidden)
        self.bn1 = hidden.make_norm(inner, 2)
        self.act1 = hidden.make_activation(inner)
        self.conv2 = convolution(inner, inner, 3, middle, hidden)
        self.bn2 = hidden.make_norm(inner, 2)
        self.act2 = hidden.make_activation(inner)
        self.conv3 = convolution(inner, out_channels, 1, 1, hidden)
        self.bn3 = hidden.make_norm(out_channels, 2)
        self.act3 = hidden.make_activation(out_channels)
        self.downsample = shortcut_for(in_channels, out_channels, stride, form)
        self.chance = form.chance(survival)

    @property
    def last(self) -> tuple[nn.Module, nn.Module]:
        """The last convolution of the branch and its norm."""
        return self.conv3, self.bn3

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, out_channels, H / stride, W / stride)."""
        skip = inputs if self.downsample is None else self.downsample(inputs)
        outputs: Tensor
        if self.chance is not None and self.chance.leaves_out():
            outputs = _only_skip(skip, self)
        elif self.is_norm_first:
            branch = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(inputs))))))
            outputs = self.act3(_sum(self.bn3(self.conv3(branch)), skip, self))
        else:
            branch = self.bn2(self.act2(self.conv2(self.bn1(self.act1(self.conv1(inputs))))))
            branch = self.bn3(self.act3(self.conv3(branch)))
            outputs = skip + (branch if self.chance is None else self.chance(branch))
        return outputs


Unit = BasicUnit | Bottleneck


def _sum(branch: Tensor, skip: Tensor, unit: Unit) -> Tensor:
    """Return what the last activation of a unit sees; the branch may be changed in place."""
    if unit.widening > 1:
        skip = skip.repeat_interleave(unit.widening, 1)  # (N, C, H, W) -> (N, C k, H, W)
    return branch.add_(skip) if unit.chance is None else skip + unit.chance(branch)


def _only_skip(skip: Tensor, unit: Unit) -> Tensor:
    """Return what a unit gives when its branch is left out."""
    if not unit.is_norm_first:
        return skip
    last = unit.act3 if isinstance(unit, Bottleneck) else unit.act2
    # A copy, because the activation may work in place, on what is the input of others.
    wide = skip.repeat_interleave(unit.widening, 1) if unit.widening > 1 else skip.clone()
    outputs: Tensor = last(wide)
    return outputs


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int, hidden: Hidden) -> nn.Conv2d:
    """Return a convolution that keeps the size but for its stride, as wide as the activation behind it asks."""
    wide = out_channels * hidden.widening
    return nn.Conv2d(in_channels, wide, kernel, stride, padding=kernel // 2, bias=hidden.needs_bias)


def shortcut_for(in_channels: int, out_channels: int, stride: int, form: UnitForm) -> nn.Module | None:
    """Return the skip of a unit, or None where it is the input itself."""
    if form.shortcut != "C" and stride == 1 and in_channels == out_channels:
        return None
    if form.shortcut == "A":
        return PaddedIdentity(in_channels, out_channels, stride)
    if form.shortcut == "pooled":
        return PooledIdentity(in_channels, out_channels, stride)
    projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=not form.hidden.replaces_bias)
    return nn.Sequential(projection, make_norm(form.hidden.norm, out_channels, 2))


def stages(
    in_channels: int, widths: Sequence[int], units: Sequence[int], form: UnitForm, survivals: Sequence[float]
) -> Iterator[nn.Sequential]:
    """Yield each stage; all but the first halve the maps.

    Args:
        in_channels: of the stem.
        widths: channels of the 3x3 convolutions of each stage.
        units: of each stage.
        form: of every unit.
        survivals: of every unit, first to last.
    """
    kind = Bottleneck if form.kind == "bottleneck" else BasicUnit
    left = iter(survivals)
    for stage, (width, count) in enumerate(zip(widths, units, strict=True)):
        built: list[nn.Module] = []
        for unit in range(count):
            stride = 2 if unit == 0 and stage > 0 else 1
            out_channels = width * form.expansion
            built.append(kind(in_channels, out_channels, stride=stride, form=form, survival=next(left)))
            in_channels = out_channels
        yield nn.Sequential(*built)
