"""Plain nets of any depth: the layers of a residual network one behind the other, without the skips.

Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, table 1 and section 4.2.
"""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, Unit
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.heads import Head, make_head, pooled_scores
from trainwell.models.inputs import require_images
from trainwell.models.presets import preset
from trainwell.models.residual import convolution
from trainwell.models.resnet import Stem
from trainwell.models.weights import start_weights, starter

SOURCE = "He et al. 2016, arXiv:1512.03385"
STAGES = {"small": 3, "large": 4}
WIDTHS = {"small": 16, "large": 64}
PUBLISHED = {34: (6, 8, 12, 6)}  # layers of each stage that are not spread evenly

Depth = Annotated[int, Ge(2), Unit("layers with weights")]


class PlainNet(nn.Module):
    """Stem, stages of 3x3 convolutions that double the channels and halve the maps, mean over all pixels, head."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        depth: int = 20,
        stem: Stem = "small",
        width: int | None = None,
        hidden: Hidden,
        head: Head = "linear",
    ) -> None:
        super().__init__()
        self.hidden, self.in_channels, self.name = hidden, in_channels, f"plain{depth}"
        width = width or WIDTHS[stem]
        counts = layers_per_stage(depth, stem)
        self.least_side = 2 ** (STAGES[stem] - 1) * (4 if stem == "large" else 1)
        kernel, stride = (7, 2) if stem == "large" else (3, 1)
        self.stem = nn.Sequential(*_layer(in_channels, width, kernel, stride, hidden))
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem == "large" else None
        stages: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(counts):
            layers: list[nn.Module] = []
            for layer in range(count):
                out_channels, stride = width * 2**stage, 2 if layer == 0 and stage > 0 else 1
                layers.append(nn.Sequential(*_layer(channels, out_channels, 3, stride, hidden)))
                channels = out_channels
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
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
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network=self.name)
        maps = self.stem(inputs)
        if self.maxpool is not None:
            maps = self.maxpool(maps)
        outputs: Tensor = self.stages(maps)
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        return pooled_scores(self.fc, self.maps(inputs))


def _layer(in_channels: int, out_channels: int, kernel: int, stride: int, hidden: Hidden) -> list[nn.Module]:
    return [convolution(in_channels, out_channels, kernel, stride, hidden), *hidden.behind(out_channels, 2)]


def layers_per_stage(depth: int, stem: Stem) -> tuple[int, ...]:
    """Return how many layers each stage has: all but stem and head, as evenly as can be, early stages first.

    >>> layers_per_stage(20, "small"), layers_per_stage(34, "large"), layers_per_stage(9, "small")
    ((6, 6, 6), (6, 8, 12, 6), (3, 2, 2))
    """
    if stem == "large" and depth in PUBLISHED:
        return PUBLISHED[depth]
    each, left = divmod(depth - 2, STAGES[stem])
    return tuple(each + (stage < left) for stage in range(STAGES[stem]))


@models.card(source=f"{SOURCE}, section 4.2", small={"depth": 8, "width": 8})
def plain(
    in_channels: int,
    num_classes: int,
    *,
    depth: Depth = 20,
    stem: Stem = "small",
    width: Count | None = None,
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> PlainNet:
    """Plain net of 3x3 convolutions, of any depth: what a residual network is compared with.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    A depth of a residual network of basic units gives its layers without the skips.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights, stem and head among them.
        stem: small, three stages from 16 channels, for small images; large, 7x7 and a maximum, four stages from 64.
        width: channels of the first stage, where they are others; further stages double them.
        activation: of every convolution.
        norm: of every convolution.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Costs: from about 20 layers on, training error rises with depth, although a deeper net could do the same.

    >>> import torch
    >>> plain(3, 10, depth=5)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    hidden = Hidden(activation, norm, norm_order)
    return PlainNet(in_channels, num_classes, depth=depth, stem=stem, width=width, hidden=hidden, head=head)


plain18, plain34 = (
    preset(
        plain,
        f"plain{depth}",
        f"Plain net of {depth} layers for photographs ({error} % top-1 error on ImageNet in the paper).",
        source=f"{SOURCE}, table 2",
        fixed={"depth": depth, "stem": "large"},
    )
    for depth, error in ((18, "27.94"), (34, "28.54"))
)
