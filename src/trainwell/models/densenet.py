"""The densely connected networks of the shelf: the published ones for photographs, and any for small images.

Source: Huang et al. 2017, "Densely connected convolutional networks", arXiv:1608.06993, tables 1 and 2.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, ProperFraction, Unit
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.dense import DenseLayout, DenseNet
from trainwell.models.heads import Head
from trainwell.models.presets import preset
from trainwell.models.resnet import Stem, units_per_stage

SOURCE = "Huang et al. 2017, arXiv:1608.06993"
PUBLISHED = {  # table 1: the layers of each block, and the growth rate
    121: ((6, 12, 24, 16), 32),
    161: ((6, 12, 36, 24), 48),
    169: ((6, 12, 32, 32), 32),
    201: ((6, 12, 48, 32), 32),
}
PLAIN_FIRST = 16  # channels of the stem of a CIFAR net without bottlenecks; with them, two growth rates

Compression = Annotated[float, Gt(0), Le(1), Unit("share of channels, theta")]
CifarDepth = Annotated[int, Ge(7), Unit("layers with weights, 3n + 4, or 6n + 4 with bottlenecks")]


@models.card(source=f"{SOURCE}, table 1", small={"layers": (2, 2, 2, 2), "growth": 8, "stem": "small"}, least_side=16)
def densenet(
    in_channels: int,
    num_classes: int,
    *,
    layers: tuple[Count, ...] = PUBLISHED[121][0],
    growth: Count = PUBLISHED[121][1],
    compression: Compression = 0.5,
    stem: Stem = "large",
    dropout: ProperFraction = 0.0,
    checkpointing: bool = False,
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> DenseNet:
    """Densely connected network for photographs; by default of 121 layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.

    Args:
        in_channels: C.
        num_classes: K.
        layers: how many each block has, of two convolutions each; the last block stands before the head.
        growth: k, channels that each layer adds; the stem has twice as many.
        compression: theta, share of the channels that passes from block to block (often written as a divisor, 2).
        stem: large halves each side five times with four blocks, so that images begin at 32x32; small three times.
        dropout: share of what each layer adds that is zeroed in training; 0.2 as published, without augmentation.
        checkpointing: whether what 1x1 convolutions read is computed again for the backward pass instead of kept: less
            memory, more time, the same weights.
        activation: in front of every convolution but the first.
        norm: of each of these.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Cures: features computed anew in every layer; it needs a third of the parameters of a residual network of the same
    accuracy. Costs: memory, since every layer's maps are read by all later ones.

    >>> import torch
    >>> densenet(3, 10, layers=(2, 2), growth=4)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    layout = DenseLayout(
        name=f"densenet{2 * sum(layers) + len(layers) + 1}",  # stem, transitions and head are counted
        layers=layers,
        growth=growth,
        first=2 * growth,
        compression=compression,
        dropout=dropout,
        stem=stem,
        is_checkpointed=checkpointing,
    )
    return DenseNet(in_channels, num_classes, layout=layout, hidden=Hidden(activation, norm, norm_order), head=head)


@models.card(source=f"{SOURCE}, section 3", small={"depth": 16, "growth": 8})
def cifar_densenet(
    in_channels: int,
    num_classes: int,
    *,
    depth: CifarDepth = 100,
    growth: Count = 12,
    bottleneck: bool = True,
    compression: Compression = 0.5,
    dropout: ProperFraction = 0.0,
    checkpointing: bool = False,
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> DenseNet:
    """Densely connected network for small images, of three blocks; by default DenseNet-BC of 100 layers, k = 12.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    Without a bottleneck its stem has 16 channels, as the paper says; its authors' program takes 2 k there too.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights: 6n + 4, or 3n + 4 without bottlenecks.
        growth: k, channels that each layer adds.
        bottleneck: whether a 1x1 convolution to 4 k channels stands before each 3x3 (B).
        compression: theta, share of the channels that passes from block to block (C); 1 lets all pass.
        dropout: share of what each layer adds that is zeroed in training; 0.2 as published, without augmentation.
        checkpointing: whether what 1x1 convolutions read is computed again for the backward pass instead of kept.
        activation: in front of every convolution but the first.
        norm: of each of these.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Costs memory, since every layer's maps are read by all later ones. (Published errors on CIFAR-10, augmented: 5.24 %
    of 40 layers with k = 12, 4.51 % of BC 100 with k = 12, 3.46 % of BC 190 with k = 40.)

    >>> import torch
    >>> cifar_densenet(3, 10, depth=10, growth=4)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    each, words = (6, "two-layer layers") if bottleneck else (3, "layers")
    count = units_per_stage(depth, each, network="cifar_densenet", unit=words, others=4)
    layout = DenseLayout(
        name=f"cifar_densenet{depth}",
        layers=(count,) * 3,
        growth=growth,
        first=2 * growth if bottleneck else PLAIN_FIRST,
        compression=compression,
        has_bottleneck=bottleneck,
        dropout=dropout,
        stem="small",
        is_checkpointed=checkpointing,
    )
    return DenseNet(in_channels, num_classes, layout=layout, hidden=Hidden(activation, norm, norm_order), head=head)


densenet121, densenet161, densenet169, densenet201 = (
    preset(
        densenet,
        f"densenet{depth}",
        f"Densely connected network of {depth} layers for photographs, as in torchvision.",
        source=f"{SOURCE}, table 1",
        fixed={"layers": layers, "growth": growth},
    )
    for depth, (layers, growth) in PUBLISHED.items()
)
densenet_bc100 = preset(
    cifar_densenet,
    "densenet_bc100",
    "DenseNet-BC of 100 layers and growth rate 12 for small images (4.51 % error on CIFAR-10 in the paper).",
    source=f"{SOURCE}, table 2",
    fixed={"depth": 100, "growth": 12, "bottleneck": True, "compression": 0.5},
)
