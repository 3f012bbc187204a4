"""A wide, shallow convolutional network that reads whitened patches, in the style of the CIFAR-10 speed records.

Source: Page 2018, "How to train your ResNet" (whitened first layer, scaled head); Jordan 2024, "94 % on CIFAR-10
in 3.29 seconds on a single GPU", arXiv:2404.00498 (its form here: three wide blocks, identity start, GELU).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainwell.core.members import Activation, Norm
from trainwell.core.shelves import models
from trainwell.core.units import Count, Positive
from trainwell.errors import ModelInvalid
from trainwell.layers.choosing import make_activation
from trainwell.layers.hidden import Hidden, NormOrder
from trainwell.models.inputs import image_shape, require_images
from trainwell.models.weights import reparametrize, starter

PATCH = 2  # pixels; the side of the patches that are whitened
WHITENING_FLOOR = 5e-4  # added to the variance of each direction of patches, for standardized images
PIECE_PIXELS = 2**17  # whose patches are in memory at a time, as float64: 12 MiB of colour images
LEAST_SIDE = 8
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
LAST_SIDE = 4  # blocks halve the maps until they are at most this
SHIFT_LR_FACTOR = 64.0  # the scales of the norms are frozen, so their shifts must move fast
NORM = "batch:momentum=0.4"  # of a batch in the running statistics: runs are short, and late statistics are right


class WhitenedConvNet(nn.Module):
    """Frozen weights whiten patches; wide blocks of two convolutions; the maximum of each map; one dense layer.

    Each block halves the maps. The number of blocks follows from the image size; the first is `width` channels wide,
    the others three times that.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        width: int = 64,
        scale: float = 1 / 9,
        activation: str = "gelu",
        norm: str = NORM,
        norm_order: NormOrder = "before",
    ) -> None:
        super().__init__()
        self.hidden = Hidden(activation, norm, norm_order)
        self.in_channels, *sides = image_shape(input_shape, network="whitened")
        side = min(sides)
        if side < LEAST_SIDE:
            raise ModelInvalid(
                f"whitened needs images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, got {sides[0]}x{sides[1]}: "
                "enlarge them with image_size, or use convnet"
            )
        directions = self.in_channels * PATCH * PATCH
        self.whiten = nn.Conv2d(self.in_channels, 2 * directions * self.hidden.widening, PATCH)
        self.whiten.weight.requires_grad_(False)
        self.act = make_activation(activation, 2 * directions)
        blocks: list[nn.Module] = []
        channels, out_channels, side = 2 * directions, width, side - PATCH + 1
        self.least_side = PATCH
        while not blocks or side > LAST_SIDE:
            blocks.append(_block(channels, out_channels, self.hidden))
            channels, out_channels, side = out_channels, 3 * width, side // 2
            self.least_side *= 2
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes, bias=False)
        self.scale = scale
        norms = {name: module for name, module in self.named_modules() if isinstance(module, NORMS)}
        scaled = {name: module for name, module in norms.items() if isinstance(module.weight, nn.Parameter)}
        for module in scaled.values():
            module.weight.requires_grad_(False)
        self.lr_factors = {f"{name}.bias": SHIFT_LR_FACTOR for name in scaled}
        self._start()
        reparametrize(self, head=self.fc, hidden=self.hidden)

    @torch.no_grad()
    def _start(self) -> None:
        """Let every convolution begin as the identity on as many channels as it can.

        Where an activation has several pieces, the first of each unit does, and the whitening is zero in the others.
        """
        pieces = self.hidden.widening
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.dirac_(module.weight[::pieces][: module.in_channels])
        patch = torch.eye(self.whiten.in_channels * PATCH * PATCH).view(-1, self.whiten.in_channels, PATCH, PATCH)
        self._whiten_by(patch)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]

    def _whiten_by(self, weight: Tensor) -> None:
        nn.init.zeros_(self.whiten.weight)
        self.whiten.weight[:: self.hidden.widening].copy_(torch.cat([weight, -weight]))

    @torch.no_grad()
    def start_on(self, inputs: Tensor) -> None:
        """Take the whitening of the patches of preprocessed training images (N, C, H, W); called once, before step 0.

        W = diag(1 / sqrt(l + floor)) E^T    for the covariance E diag(l) E^T of the patches; and -W beside it

        Then a norm that needs a batch to start from takes it.
        """
        size = self.in_channels * PATCH * PATCH
        total, count = torch.zeros(size, size, dtype=torch.float64), 0
        for piece in inputs.split(max(1, PIECE_PIXELS // math.prod(inputs.shape[2:]))):
            patches = piece.float().unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (M, C, H', W', PATCH, PATCH)
            rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
            total, count = total + rows.T @ rows, count + len(rows)
        values, vectors = torch.linalg.eigh(total / count)
        whitening = (vectors / torch.sqrt(values + WHITENING_FLOOR)).T.flip(0).view(-1, *self.whiten.weight.shape[1:])
        self._whiten_by(whitening)
        start = starter(self, self.hidden)
        if start is not None:
            start(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores of images (N, C, H, W)."""
        require_images(inputs, in_channels=self.in_channels, least_side=self.least_side, network="whitened")
        maps = self.blocks(self.act(self.whiten(inputs)))
        scores: Tensor = self.fc(maps.amax((2, 3))) * self.scale  # (N, C, H, W) -> (N, C') -> (N, K)
        return scores


def _block(in_channels: int, out_channels: int, hidden: Hidden) -> nn.Sequential:
    wide, has_bias = out_channels * hidden.widening, hidden.needs_bias
    return nn.Sequential(
        nn.Conv2d(in_channels, wide, 3, padding=1, bias=has_bias),
        nn.MaxPool2d(2),
        *hidden.behind(out_channels, 2),
        nn.Conv2d(out_channels, wide, 3, padding=1, bias=has_bias),
        *hidden.behind(out_channels, 2),
    )


@models.card(source="Page 2018, How to train your ResNet; Jordan 2024, arXiv:2404.00498")
def whitened(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: Count = 64,
    scale: Positive = 1 / 9,
    activation: Activation = "gelu",
    norm: Norm = NORM,
    norm_order: NormOrder = "before",
) -> WhitenedConvNet:
    """Wide, shallow ConvNet on whitened patches: the most accuracy for a few minutes on colour images.

    The first layer is frozen but for its bias: it decorrelates patches of 2x2 pixels, from the training images. The
    others begin as the identity, whatever the activation.

    Args:
        input_shape: (C, H, W); the blocks halve the maps until they are at most 4x4.
        num_classes: K.
        width: channels of the first block; the others have three times as many.
        scale: factor of the scores, so that the head learns as fast as the rest.
        activation: of every convolution, the first one too.
        norm: of every convolution but the first; its scale is frozen, and its shift learns fast.
        norm_order: the norm before or after the activation.

    Time grows with width squared. Of little use below 16x16 pixels.

    >>> import torch
    >>> whitened((3, 32, 32), 10, width=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return WhitenedConvNet(
        input_shape,
        num_classes,
        width=width,
        scale=scale,
        activation=activation,
        norm=norm,
        norm_order=norm_order,
    )
