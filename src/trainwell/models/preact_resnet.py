"""Pre-activation residual networks for photographs: four stages behind the stem of a residual network.

Norm and activation of the stem stand before its maximum, so that the first unit begins with its convolution.

Source: He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, section 5, and the authors'
program, fb.resnet.torch (where bottlenecks subsample, and the units of 200 layers).
"""

from typing import Literal

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.layers.stochastic_depth import Drop
from trainwell.models.heads import Head
from trainwell.models.preact import SOURCE, PreActResNet
from trainwell.models.presets import preset
from trainwell.models.residual import Shortcut, StrideAt, UnitForm, UnitKind
from trainwell.models.resnet import PUBLISHED, Layout, Stem, Survival

UNITS: dict[int, tuple[UnitKind, tuple[int, ...]]] = {**PUBLISHED, 200: ("bottleneck", (3, 24, 36, 3))}


@models.card(source=f"{SOURCE}, section 5", small={"depth": 18, "width": 8, "stem": "small"}, least_side=16)
def preact_resnet(
    in_channels: int,
    num_classes: int,
    *,
    depth: Literal[18, 34, 50, 101, 152, 200] = 18,
    width: Count = 64,
    stem: Stem = "large",
    shortcut: Shortcut = "B",
    stride_at: StrideAt = "middle",
    survival: Survival = 1.0,
    drop: Drop = "batch",
    activation: Activation = "relu",
    norm: Norm = "batch",
    norm_order: NormOrder = "before",
    head: Head = "linear",
) -> PreActResNet:
    """Pre-activation residual network for photographs, of 18 to 200 layers.

    Normal initial weights of the activation's gain (He's for ReLU, fan-in), small Gaussian (0.01) before the scores.
    Up to 34 layers a unit has two 3x3 convolutions; from 50 on it is a bottleneck, 1x1, 3x3, 1x1 to four times the
    channels.

    Args:
        in_channels: C.
        num_classes: K.
        depth: layers with weights.
        width: channels of the first stage; each of the three others doubles them.
        stem: large takes images from 32x32 and leaves 1/32 of each side; small, without subsampling, from 8x8.
        shortcut: the skip where the shape changes: A (every second pixel, missing channels zero), pooled (means
            instead), B (1x1 convolution of the first activation); C is the latter at all units.
        stride_at: which convolution of a bottleneck subsamples; the 3x3, as in the authors' program, or the first.
        survival: how often the last unit is there in training; 0.5 is as published, 1 leaves none out.
        drop: whether a unit is left out for a whole batch, as published, or for each sample.
        activation: before every convolution but the stem.
        norm: before or after each of these activations.
        norm_order: the norm before or after the activation.
        head: linear, conv, mlp or cosine.

    Cures what an activation on the skip does beyond 150 layers. (Published top-1 errors on ImageNet, of one crop of
    320x320: 152 layers 21.3 % to 21.1 %, 200 layers 21.8 % to 20.7 %.)

    >>> import torch
    >>> preact_resnet(3, 10, width=8)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    kind, units = UNITS[depth]
    form = UnitForm(Hidden(activation, norm, norm_order), kind, shortcut, stride_at=stride_at, drop=drop)
    layout = Layout(f"preact_resnet{depth}", units, width, stem)
    return PreActResNet(
        in_channels, num_classes, layout=layout, stem_width=width, form=form, head=head, survival=survival
    )


preact_resnet18, preact_resnet34, preact_resnet50, preact_resnet101, preact_resnet152, preact_resnet200 = (
    preset(
        preact_resnet,
        f"preact_resnet{depth}",
        f"Pre-activation residual network of {depth} layers for photographs.",
        source=f"{SOURCE}, section 5",
        fixed={"depth": depth, **({"stride_at": None} if kind == "basic" else {})},
    )
    for depth, (kind, _) in UNITS.items()
)
