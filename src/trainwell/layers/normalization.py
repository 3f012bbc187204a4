"""Normalization layers, each centring and scaling over other axes of a batch of activations.

    batch       each channel, over samples and pixels       layer     each sample, over channels and pixels
    instance    each map of each sample                     group     each sample, over groups of channels and pixels

All give gamma (x - mean) / sqrt(var + epsilon) + beta, with var the biased variance over those axes, and gamma and beta
learned for each channel.

A card declares `replaces_bias` where its shift makes the bias of a layer right in front of it pointless,
`needs_batch` where training takes more than one sample, `needs_maps` where (N, C) has nothing to normalize over,
`divides_channels` with the option by which the number of channels must be divisible, and `reparametrize` and `start_on`
where it changes the weights of the layers instead: what it does to a layer, and to a network and its first batch.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import norms
from trainwell.core.units import Amount, Count, Fraction, Positive
from trainwell.errors import ModelInvalid, ShapeError
from trainwell.layers.channels import check_channels
from trainwell.layers.parametrize import start_weight_norm_, weight_norm_


class BatchNorm1d(nn.BatchNorm1d):
    """Torch's own, on (N, C), that says in words what it needs."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, and in training take its statistics into the running ones."""
        _check_batch(self, input)
        return super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """Torch's own, on (N, C, H, W), that says in words what it needs."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, and in training take its statistics into the running ones."""
        _check_batch(self, input)
        return super().forward(input)


def _check_batch(norm: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor) -> None:
    check_channels(inputs, norm.num_features, layer="batch norm")
    if norm.training and inputs.shape[0] == 1 and math.prod(inputs.shape[2:]) == 1:
        raise ShapeError(
            f"batch norm in training needs more than one value a channel, got inputs {tuple(inputs.shape)}: a single"
            " sample has no spread: take larger batches, a norm that does not look at the batch (layer, group), or"
            " evaluation mode"
        )


class GroupNorm(nn.GroupNorm):
    """Torch's own, on (N, C) or (N, C, H, W), that says in words what it needs."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with each group of channels of each sample normalized."""
        check_channels(input, self.num_channels, layer="this norm")
        if math.prod(input.shape[1:]) == self.num_groups:
            raise ShapeError(
                f"a norm of {self.num_groups} groups has one value a group in inputs {tuple(input.shape)}, and a single"
                " value has no spread: take larger images, or fewer groups"
            )
        return super().forward(input)


class LocalResponseNorm(nn.Module):
    """y_c = x_c / (k + (alpha / size) sum_{c' near c} x_c'^2)^beta, on (N, C, ...) of any type."""

    def __init__(self, size: int = 5, *, alpha: float = 5e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs, each number divided by what its neighbouring channels hold at its place."""
        ends = self.size // 2, (self.size - 1) // 2
        squares = functional.pad(inputs.square(), (*[0, 0] * (inputs.ndim - 2), *ends))
        near = squares.unfold(1, self.size, 1).sum(-1)  # (N, C, ..., size) -> (N, C, ...)
        return (inputs / (self.k + self.alpha / self.size * near) ** self.beta).to(inputs.dtype)

    def extra_repr(self) -> str:
        """Say the options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


@norms.card("none")
def nothing() -> nn.Identity:
    """No norm: activations stay as the layer gives them.

    Cures: nothing; it is the baseline. Costs: the scale of the first weights must be right, and rates are smaller.

    >>> nothing()
    Identity()
    """
    return nn.Identity()


@norms.card(source="Ioffe & Szegedy 2015, arXiv:1502.03167", replaces_bias=True, needs_batch=True)
def batch(
    channels: int,
    spatial_dims: int,
    *,
    momentum: Fraction = 0.1,
    epsilon: Positive = 1e-5,
    affine: bool = True,
) -> nn.Module:
    """Batch norm: each channel has mean 0 and variance 1 over the batch; in evaluation, by running statistics.

    Cures: a narrow range of rates and weight scales. Costs: a sample's result depends on its batch in training, and
    tiny batches, or evaluation mode forgotten, break it. Free once trained: it is folded into the layer in front of it.
    (Published: ImageNet top-5 error 4.9 % by an ensemble, the first below a person's.)

    Args:
        channels: C.
        spatial_dims: 0 for (N, C), 2 for (N, C, H, W).
        momentum: share of the newest batch in the running statistics, torch's convention; their variance is the
            unbiased one.
        epsilon: added to the variance.
        affine: whether scale and shift are learned.

    >>> batch(4, 0)
    BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, ...)
    """
    kind = BatchNorm2d if spatial_dims == 2 else BatchNorm1d
    return kind(channels, eps=epsilon, momentum=momentum, affine=affine)


@norms.card(source="Ba, Kiros & Hinton 2016, arXiv:1607.06450", replaces_bias=True)
def layer(channels: int, spatial_dims: int, *, epsilon: Positive = 1e-5, affine: bool = True) -> nn.Module:
    """Layer norm: each sample has mean 0 and variance 1 over its channels and pixels.

    Cures: dependence on the batch, at any batch size. Costs: statistics at every use, also when deployed; on images
    usually behind batch norm. Scale and shift are of the channel, also on images (N, C, H, W).

    Args:
        channels: C.
        spatial_dims: 0 for (N, C), 2 for (N, C, H, W).
        epsilon: added to the variance.
        affine: whether scale and shift are learned.

    >>> import torch
    >>> layer(2, 0)(torch.tensor([[1.0, 3.0]])).detach()
    tensor([[-1.0000,  1.0000]])
    """
    return _grouped(1, channels, spatial_dims, epsilon, is_affine=affine)


@norms.card(
    source="Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022",
    replaces_bias=True,
    needs_maps=True,
)
def instance(channels: int, spatial_dims: int, *, epsilon: Positive = 1e-5, affine: bool = True) -> nn.Module:
    """Instance norm: each map of each sample has mean 0 and variance 1 over its pixels.

    Cures: contrast that differs from image to image (style transfer). Costs: how strong a map is, which a classifier
    may need, is lost. For images only.

    Args:
        channels: C.
        spatial_dims: 2.
        epsilon: added to the variance.
        affine: whether scale and shift are learned; torch's own default is that they are not.

    Raises:
        ModelInvalid: the inputs are (N, C), where a sample has one value a channel.
    """
    if spatial_dims == 0:
        raise ModelInvalid(
            "instance norm needs images (N, C, H, W), and these are features (N, C), one value a channel and no spread:"
            " take layer or batch"
        )
    return _grouped(channels, channels, spatial_dims, epsilon, is_affine=affine)


@norms.card(source="Wu & He 2018, arXiv:1803.08494", replaces_bias=True, divides_channels="groups")
def group(
    channels: int,
    spatial_dims: int,
    *,
    groups: Count = 32,
    at_most: bool = False,
    epsilon: Positive = 1e-5,
    affine: bool = True,
) -> nn.Module:
    """Group norm: in each sample, each group of neighbouring channels has mean 0 and variance 1.

    Cures: batch norm's trouble with small batches. Costs: statistics at every use, also when deployed. (Published:
    ResNet-50 with 2 images a batch, ImageNet error 24.1 % against 34.7 % with batch norm.)

    Args:
        channels: C, divisible by the groups.
        spatial_dims: 0 for (N, C), 2 for (N, C, H, W).
        groups: how many.
        at_most: take the largest number of groups up to `groups` that divides the channels.
        epsilon: added to the variance.
        affine: whether scale and shift are learned.

    Raises:
        ModelInvalid: the groups do not divide the channels, or hold one value each.

    >>> group(16, 2, at_most=True)
    GroupNorm(16, 16, eps=1e-05, affine=True...)
    """
    if at_most:
        groups = max(count for count in range(1, min(groups, channels) + 1) if channels % count == 0)
    if channels % groups:
        near = max(count for count in range(1, min(groups, channels) + 1) if channels % count == 0)
        raise ModelInvalid(
            f"group norm needs channels that {groups} groups divide, got {channels}: write group:groups={near}, or"
            " group:at_most=true to take the largest number that fits each layer"
        )
    return _grouped(groups, channels, spatial_dims, epsilon, is_affine=affine)


def _grouped(groups: int, channels: int, spatial_dims: int, epsilon: float, *, is_affine: bool) -> nn.Module:
    if spatial_dims == 0 and groups == channels:
        raise ModelInvalid(
            f"a norm over {channels // groups} of {channels} channels of features (N, C) has a single value to"
            " normalize, which has no spread: take fewer groups, or wider layers"
        )
    return GroupNorm(groups, channels, eps=epsilon, affine=is_affine)


@norms.card(source="Krizhevsky et al. 2012, ImageNet classification with deep convolutional networks, section 3.3")
def local_response(
    *, size: Count = 5, alpha: Amount = 5e-4, beta: Amount = 0.75, k: Positive = 2.0
) -> LocalResponseNorm:
    """Local response norm of AlexNet: a strong channel damps its neighbours at the same pixel.

    Cures: ReLU outputs that grow without bound (it stands behind the activation there). Costs: more time than batch
    norm, for less; kept for comparison.

    Args:
        size: how many neighbouring channels are summed over.
        alpha: divided by `size`, torch's convention: the paper, which does not divide, prints 1e-4, and 5 times that is
            the same here.
        beta: the power.
        k: what stands beside the sum.

    >>> import torch
    >>> local_response(k=1.0, alpha=5.0, beta=1.0)(torch.ones(1, 1))
    tensor([[0.5000]])
    """
    return LocalResponseNorm(size, alpha=alpha, beta=beta, k=k)


@norms.card(
    source="Salimans & Kingma 2016, arXiv:1602.07868",
    reparametrize=weight_norm_,
    start_on=start_weight_norm_,
)
def weight() -> nn.Identity:
    """Weight norm: length and direction of each unit's weights are learned apart; nothing is done to activations.

        w = g v / |v|

    Scale and bias of each unit are taken from the first batch, so that what every layer gives has mean 0 and
    variance 1 there.

    Cures: badly conditioned weights, without looking at the batch in training. Costs: one norm of the weights a step;
    no noise that regularizes; nothing once trained, when it is multiplied out.

    >>> weight()
    Identity()
    """
    return nn.Identity()
