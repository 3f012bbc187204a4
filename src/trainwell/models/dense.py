"""Densely connected networks: each layer reads all maps made before it in its block, and adds a few of its own.

    x_l = concat(x_{l-1}, conv(act(norm(x_{l-1}))))           k more channels, the growth rate
    with a bottleneck (B): conv3x3(act(norm(conv1x1(act(norm(x))))))   with 4 k channels between the two
    between blocks: norm, act, 1x1 convolution to theta as many channels (C), means over 2x2 pixels

Parameter names are torchvision's (`features.denseblock1.denselayer1.norm1`, ..., `classifier`).

Source: Huang et al. 2017, "Densely connected convolutional networks", arXiv:1608.06993, table 1 and section 3; Pleiss
et al. 2017, arXiv:1707.06990 (checkpointing).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainwell.layers.choosing import make_activation
from trainwell.layers.dropout import dropout_for
from trainwell.layers.hidden import Hidden
from trainwell.layers.normalization import BatchNorm2d
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.resnet import Stem
from trainwell.models.weights import start_weights, starter

BOTTLENECK = 4  # channels between the two convolutions of a layer, in growth rates


@dataclass(frozen=True)
class DenseLayout:
    """The sizes of a densely connected network.

    Attributes:
        name: what it is called in errors.
        layers: of each block.
        growth: k, channels that each layer adds.
        first: channels of the stem.
        compression: theta, the share of channels that passes from block to block.
        has_bottleneck: whether layers have a 1x1 convolution before the 3x3.
        dropout: share of what each convolution adds that is zeroed in training.
        stem: large, 7x7 with stride 2 and a maximum over 3x3 with stride 2, or small, 3x3 with stride 1.
        is_checkpointed: whether what a 1x1 convolution reads is computed again for the backward pass, not kept.
    """

    name: str
    layers: tuple[int, ...]
    growth: int
    first: int
    compression: float = 1.0
    has_bottleneck: bool = True
    dropout: float = 0.0
    stem: Stem = "large"
    is_checkpointed: bool = False

    @property
    def least_side(self) -> int:
        """Pixels of which every halving leaves at least one."""
        return int(2 ** (len(self.layers) - 1)) * (4 if self.stem == "large" else 1)


def _pair(number: object, channels: int, hidden: Hidden, *, is_fresh: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Yield norm and activation in their order, by torchvision's names."""
    norm = hidden.make_norm(channels, 2)
    is_fresh = is_fresh or (hidden.is_norm_first and not isinstance(norm, nn.Identity))
    activation = hidden.make_activation(channels) if is_fresh else make_activation(hidden.activation, channels)
    pair = ((f"norm{number}", norm), (f"relu{number}", activation))
    yield from pair if hidden.is_norm_first else pair[::-1]


class DenseLayer(nn.Module):
    """One layer of a block: of all maps so far (N, C, H, W), it makes k more.

    Args:
        in_channels: C, as activations give them; one of several pieces takes as many times more.
        layout: growth, bottleneck, dropout and checkpointing.
        hidden: norm and activation, in front of each convolution.
    """

    norm1: nn.Module
    conv1: nn.Conv2d
    conv2: nn.Conv2d

    def __init__(self, in_channels: int, layout: DenseLayout, hidden: Hidden) -> None:
        super().__init__()
        wide, bias = hidden.widening, hidden.needs_bias
        self.order = ("norm", "relu") if hidden.is_norm_first else ("relu", "norm")
        self.is_checkpointed = layout.is_checkpointed
        for name, module in _pair(1, in_channels, hidden):
            self.add_module(name, module)
        channels = in_channels
        if layout.has_bottleneck:
            channels = BOTTLENECK * layout.growth
            self.conv1 = nn.Conv2d(in_channels, channels * wide, 1, bias=bias)
            for name, module in _pair(2, channels, hidden, is_fresh=True):
                self.add_module(name, module)
        last = nn.Conv2d(channels, layout.growth * wide, 3, padding=1, bias=bias)
        self.add_module("conv2" if layout.has_bottleneck else "conv1", last)
        self.has_bottleneck = layout.has_bottleneck
        self.dropout = dropout_for(hidden.activation, layout.dropout, 0) if layout.dropout > 0 else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (N, k, H, W) of all maps of the block so far."""
        if self.is_checkpointed and torch.is_grad_enabled() and any(part.requires_grad for part in maps):
            if torch.compiler.is_compiling():  # a compiled graph takes a batch into the running statistics only once
                added: Tensor = checkpoint(self._first, *maps, use_reentrant=False)
            else:
                added = checkpoint(self._first, *maps, use_reentrant=False, context_fn=self._contexts)
        else:
            added = self._first(*maps)
        if self.has_bottleneck:
            added = self.conv2(self._norm_and_act(2, added))
        return added if self.dropout is None else self.dropout(added)

    def _first(self, *maps: Tensor) -> Tensor:
        joined = torch.cat(maps, 1) if len(maps) > 1 else maps[0]
        added: Tensor = self.conv1(self._norm_and_act(1, joined))
        return added

    def _norm_and_act(self, number: int, maps: Tensor) -> Tensor:
        for part in self.order:
            maps = getattr(self, f"{part}{number}")(maps)
        return maps

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._without_statistics()

    @contextmanager
    def _without_statistics(self) -> Iterator[None]:
        """Let a norm that is computed a second time take its batch into the running statistics only once."""
        norm = self.norm1
        if not isinstance(norm, BatchNorm2d) or norm.num_batches_tracked is None:
            yield
            return
        momentum, seen = norm.momentum, norm.num_batches_tracked.clone()
        try:
            norm.momentum = 0.0
            yield
        finally:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(seen)


class DenseBlock(nn.Module):
    """Layers each of which reads what went into the block and what all layers before it made."""

    def __init__(self, in_channels: int, count: int, layout: DenseLayout, hidden: Hidden) -> None:
        super().__init__()
        for number in range(count):
            layer = DenseLayer(in_channels + number * layout.growth, layout, hidden)
            self.add_module(f"denselayer{number + 1}", layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, C + count k, H, W) of inputs (N, C, H, W)."""
        maps = [inputs]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions that halve the maps, norm and activation, mean over all pixels, head."""

    def __init__(
        self, in_channels: int, num_classes: int, *, layout: DenseLayout, hidden: Hidden, head: Head = "linear"
    ) -> None:
        super().__init__()
        self.in_channels, self.layout, self.hidden = in_channels, layout, hidden
        self.features = nn.Sequential()
        for name, module in _stem(in_channels, layout, hidden):
            self.features.add_module(name, module)
        channels = layout.first
        for number, count in enumerate(layout.layers, 1):
            self.features.add_module(f"denseblock{number}", DenseBlock(channels, count, layout, hidden))
            channels += count * layout.growth
            if number < len(layout.layers):
                kept = int(channels * layout.compression)
                self.features.add_module(f"transition{number}", _transition(channels, kept, hidden))
                channels = kept
        for name, module in _pair(5, channels, hidden, is_fresh=True):
            self.features.add_module(name, module)
        self.classifier = make_head(head, channels, num_classes, hidden)
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
        name, least = self.layout.name, self.layout.least_side
        require_images(inputs, in_channels=self.in_channels, least_side=least, network=name)
        maps: Tensor = self.features(inputs)
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        return pooled_scores(self.classifier, self.maps(inputs))


def _stem(in_channels: int, layout: DenseLayout, hidden: Hidden) -> Iterator[tuple[str, nn.Module]]:
    # What the first activation of several pieces leaves must still be as many times wider for those that follow.
    wide = layout.first * hidden.widening
    if layout.stem == "small":
        yield "conv0", nn.Conv2d(in_channels, wide, 3, padding=1, bias=hidden.needs_bias)
        return
    yield "conv0", nn.Conv2d(in_channels, wide * hidden.widening, 7, 2, padding=3, bias=hidden.needs_bias)
    yield from _pair(0, wide, hidden, is_fresh=True)
    yield "pool0", nn.MaxPool2d(3, 2, padding=1)


def _transition(channels: int, kept: int, hidden: Hidden) -> nn.Sequential:
    transition = nn.Sequential()
    for name, module in _pair("", channels, hidden, is_fresh=True):
        transition.add_module(name, module)
    transition.add_module("conv", nn.Conv2d(channels, kept * hidden.widening, 1, bias=hidden.needs_bias))
    transition.add_module("pool", nn.AvgPool2d(2))
    return transition
