"""Preprocessing that treats each input value by itself: y = (x - centre) * scale.

The forms differ in which values share a centre and a scale: all of them, a channel, or each place of the
image alone. Images are uint8 in [0, 255]; the forms that keep their scale divide by 255.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from trainwell.core.shelves import preprocessings
from trainwell.core.units import Amount, Fraction, Positive, Unit
from trainwell.data.preprocessing.fitting import (
    NOT_FITTED,
    Share,
    check_train,
    deviation,
    extremes,
    flat_rows,
    mean,
    take_state,
)
from trainwell.errors import DataInvalid, OptionInvalid, ShapeError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of x / 255, red, green, blue

Means = Annotated[tuple[float, ...], MinLen(1), Unit("of x / 255")]
Deviations = Annotated[tuple[Positive, ...], MinLen(1), Unit("of x / 255")]
# (train) -> centre and scale, both float64 and broadcastable to one sample
Fit = Callable[[Tensor], tuple[Tensor, Tensor]]


class Elementwise:
    """y = (x - centre) * scale with frozen centre and scale, one pass over memory in channels-last order.

    Args:
        take: takes centre and scale from the training inputs.
        layer: makes the module that stands in front of the network, where there is one.
    """

    def __init__(self, take: Fit, layer: Callable[[Sequence[int]], nn.Module] | None = None) -> None:
        self._take = take
        self._layer = layer
        self._centre: Tensor | None = None
        self._scale: Tensor | None = None
        self._ready: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}
        self.notes: tuple[str, ...] = ()

    def fit(self, train: Tensor) -> None:
        """Take centre and scale from training inputs (N, C, H, W) or (N, D)."""
        check_train(train)
        self._hold(*self._take(train))
        if train.dim() == 4:
            return
        low, high = extremes(train, "value")
        constant = int((low == high).sum())
        if constant:
            self.notes = (
                f"{constant} of {low.numel()} features never change in the train split: they are left centred",
            )

    def _hold(self, centre: Tensor, scale: Tensor) -> None:
        self._centre, self._scale = centre.contiguous(), scale.contiguous()
        self._ready.clear()
        self.notes = ()

    def apply(self, inputs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return (x - centre) * scale as a new tensor, images in channels-last memory.

        uint8 inputs take x * scale - centre * scale, one multiply-add in float32; its error is below
        2e-7 of the largest value that the scale can give.

        Raises:
            DataInvalid: nothing was fitted or loaded.
            ShapeError: the samples have another shape than those fitted on.
        """
        flat = flat_rows(inputs) if inputs.dim() == 4 else inputs  # (N, C, H, W) -> (N, H W C), free in channels-last
        work = torch.float64 if dtype == torch.float64 else torch.float32
        centre, scale, offset = self._constants(inputs, work)
        if inputs.is_floating_point():
            result = torch.sub(flat.to(work), centre).mul_(scale)
        else:
            result = flat.to(work)
            torch.addcmul(offset, result, scale, out=result)
        result = result.to(dtype)
        if inputs.dim() != 4:
            return result
        count, channels, height, width = inputs.shape
        return result.view(count, height, width, channels).permute(0, 3, 1, 2)

    def _constants(self, inputs: Tensor, work: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Centre, scale and -centre * scale for every value of a sample, in the order it lies in memory."""
        key = (inputs.shape[1:], inputs.device, work)
        if key not in self._ready:
            if self._centre is None or self._scale is None:
                raise DataInvalid(NOT_FITTED)
            held = []
            for constant in (self._centre, self._scale, -self._centre * self._scale):
                try:
                    whole = constant.expand(inputs.shape[1:])
                except RuntimeError:
                    raise ShapeError(
                        f"preprocessing was fitted on samples of shape {tuple(self._centre.shape)} (1 = any), "
                        f"got samples of shape {tuple(inputs.shape[1:])}: bring inputs to the shape of training"
                    ) from None
                held.append(flat_rows(whole.unsqueeze(0))[0].to(inputs.device, work))
            self._ready[key] = (held[0], held[1], held[2])
        return self._ready[key]

    def state(self) -> dict[str, Tensor]:
        """Return {"centre", "scale"} as float64.

        Raises:
            DataInvalid: nothing was fitted or loaded.
        """
        if self._centre is None or self._scale is None:
            raise DataInvalid(NOT_FITTED)
        return {"centre": self._centre.clone(), "scale": self._scale.clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` returned, instead of a fit."""
        centre, scale = take_state(state, ("centre", "scale"))
        self._hold(centre, scale)

    def layer(self, input_shape: Sequence[int]) -> nn.Module | None:
        """Return the module that stands in front of the network, or None."""
        return None if self._layer is None else self._layer(input_shape)


def _unit(train: Tensor) -> float:
    """What brings raw values to about [0, 1]: 1/255 for uint8, 1 for floats, whose unit is the user's."""
    return 1.0 if train.is_floating_point() else 1 / 255


def _inverse(spread: Tensor, fallback: float) -> Tensor:
    """1 / spread, and the fallback where the spread is zero: such values are left centred."""
    return torch.where(spread > 0, 1 / torch.where(spread > 0, spread, 1.0), fallback)


def _scaled(train: Tensor) -> tuple[Tensor, Tensor]:
    one = torch.ones([1] * (train.dim() - 1), dtype=torch.float64)
    return one * 0, one * _unit(train)


def _centred(share: Share) -> Fit:
    def take(train: Tensor) -> tuple[Tensor, Tensor]:
        centre = mean(train, share)
        return centre, torch.full_like(centre, _unit(train))

    return take


def _standardized(share: Share, epsilon: float) -> Fit:
    def take(train: Tensor) -> tuple[Tensor, Tensor]:
        centre = mean(train, share)
        low, high = extremes(train, share)
        unit = _unit(train)
        spread = (deviation(train, centre, share).square() + (epsilon / unit) ** 2).sqrt()
        is_constant = low == high  # exact, where a sum of equal floats need not be
        return torch.where(is_constant, low, centre), _inverse(torch.where(is_constant, 0.0, spread), unit)

    return take


@preprocessings.card("none")
def nothing() -> Elementwise:
    """Scale only: x / 255 for images, features as they are.

    Cures: nothing; it is the baseline. Costs: inputs that are not centred slow the first layer down.
    """

    return Elementwise(_scaled)


@preprocessings.card(source="Krizhevsky et al. 2012, section 2")
def mean_image() -> Elementwise:
    """Subtract the mean image: the mean over samples of each pixel and channel (or feature).

    Cures: inputs of one sign. Costs: ties the network to one image size.
    """
    return Elementwise(_centred("value"))


@preprocessings.card(source="Simonyan and Zisserman 2015, arXiv:1409.1556, section 2.1")
def channel_mean() -> Elementwise:
    """Subtract the mean of each channel (or feature).

    Cures: inputs of one sign, at any image size. Costs: nothing.
    """
    return Elementwise(_centred("channel"))


@preprocessings.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3')
def standardize(*, epsilon: Amount = 0.0) -> Elementwise:
    """Subtract the mean and divide by the standard deviation of each channel (or feature).

        y = (x - mean) / sqrt(var + epsilon^2)

    Cures: channels or features of different size, inputs of one sign. Costs: nothing.

    Args:
        epsilon: added to the deviation in quadrature, in units of x / 255 for images.
            A channel that never changes is left centred, never divided by.
    """
    return Elementwise(_standardized("channel", epsilon))


@preprocessings.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3')
def standardize_features(*, epsilon: Amount = 0.0) -> Elementwise:
    """Standardize each feature by itself; for images, each pixel and channel of its own.

        y = (x - mean) / sqrt(var + epsilon^2)

    Cures: features of different size. Costs: on images, ties to one size and lifts noise at quiet borders.

    Args:
        epsilon: added to the deviation in quadrature, in units of x / 255 for images.
            A feature that never changes is left centred, never divided by.
    """
    return Elementwise(_standardized("value", epsilon))


@preprocessings.card(source="He et al. 2016, arXiv:1512.03385, and torchvision's published weights", channels=3)
def fixed(*, mean: Means = IMAGENET_MEAN, std: Deviations = IMAGENET_STD) -> Elementwise:
    """Subtract a mean and divide by a deviation that are known beforehand, of each channel; nothing is taken from data.

        y = (x / 255 - mean) / std          floats are not divided by 255

    Cures: a pretrained network that reads other numbers than it was trained on. Costs: inputs that are centred only if
    the data resemble those. A single number stands for all channels.

    Args:
        mean: of each channel, in units of x / 255; by default that of ImageNet.
        std: of each channel likewise.
    """
    if len(mean) != len(std):
        raise OptionInvalid(f"fixed:mean and fixed:std must be of as many channels, got {len(mean)} and {len(std)}")

    def take(train: Tensor) -> tuple[Tensor, Tensor]:
        channels = train.shape[1]
        if len(mean) not in (1, channels):
            what = {1: "a grey image has one", 3: "a colour image has three"}.get(channels, "these are of the data")
            raise DataInvalid(
                f"fixed:mean and fixed:std are of {len(mean)} channels, and the data have {channels} ({what}): give as"
                " many numbers, or read images with as many channels, --set data.color=rgb or grey"
            )
        shape = (-1, *[1] * (train.dim() - 2))
        unit = _unit(train)
        centre = torch.tensor(mean, dtype=torch.float64) / unit
        return centre.view(shape), (unit / torch.tensor(std, dtype=torch.float64)).view(shape)

    return Elementwise(take)


@preprocessings.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3 (scaling of inputs)')
def minmax() -> Elementwise:
    """Map the smallest training value of each channel (or feature) to -1 and the largest to 1.

        y = 2 (x - min) / (max - min) - 1

    Cures: features of different size with hard limits. Costs: one outlier squeezes all the rest.
    A channel that never changes becomes 0; unseen values may lie outside [-1, 1].
    """

    def take(train: Tensor) -> tuple[Tensor, Tensor]:
        low, high = extremes(train, "channel")
        return low + (high - low) / 2, 2 * _inverse(high - low, _unit(train))

    return Elementwise(take)


@preprocessings.card(source="Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1")
def batch_norm(*, epsilon: Positive = 1e-5, momentum: Fraction = 0.1) -> Elementwise:
    """Scale only, then a batch norm layer in front of the network normalizes each batch by itself.

    Cures: statistics that no fit can know (streams). Costs: the result depends on the batch in training.

    Args:
        epsilon: added to the batch variance.
        momentum: share of the newest batch in the running statistics.
    """

    def layer(input_shape: Sequence[int]) -> nn.Module:
        kind = nn.BatchNorm2d if len(input_shape) == 3 else nn.BatchNorm1d
        return kind(input_shape[0], eps=epsilon, momentum=momentum)

    return Elementwise(_scaled, layer)
