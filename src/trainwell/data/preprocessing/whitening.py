"""Preprocessing that mixes all values of a sample: rotation to the principal axes, and whitening.

With the covariance C = U diag(l) U^T of the training samples in units of x / 255 (features: as they are),

    PCA        y = U^T (x - mean)                    uncorrelated
    whitened   y = diag(l + e)^(-1/2) U^T (x - mean) uncorrelated, variance 1
    ZCA        y = U diag(l + e)^(-1/2) U^T (x - mean)  the same, and nearest to the original image

Source: Kessy, Lewin, Strimmer 2018, "Optimal whitening and decorrelation", arXiv:1512.00809, section 2.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trainwell.core.shelves import preprocessings
from trainwell.core.units import Amount
from trainwell.data.preprocessing.fitting import NOT_FITTED, check_train, covariance, take_state
from trainwell.errors import DataInvalid, ShapeError

# The covariance of D values is D x D, and its axes take time in D^3: about 40 s on 2 cores at this size.
MOST_VALUES = 4096

Form = Literal["rotate", "whiten", "zca"]


class Projection:
    """y = M (x - mean) for flattened samples; the result has the shape of the input.

    Images come out as (N, C, H, W): for ZCA they are images still, for PCA the D principal coordinates,
    largest variance first, laid out in that shape.
    """

    def __init__(self, form: Form, epsilon: float) -> None:
        self._form = form
        self._epsilon = epsilon
        self._mean: Tensor | None = None
        self._matrix: Tensor | None = None
        self._ready: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        self.notes: tuple[str, ...] = ()

    def fit(self, train: Tensor) -> None:
        """Take mean and axes from training inputs (N, C, H, W) or (N, D).

        Directions in which the training samples do not vary at all become 0, whatever epsilon is.

        Raises:
            DataInvalid: a sample has too many values for a covariance.
        """
        check_train(train)
        values = train[0].numel()
        if values > MOST_VALUES:
            raise DataInvalid(
                f"PCA and whitening need the covariance of all values of a sample, at most {MOST_VALUES}, but samples "
                f"of shape {tuple(train.shape[1:])} have {values}: use smaller images, or preprocessing standardize"
            )
        unit = 1.0 if train.is_floating_point() else 1 / 255
        mean, spread = covariance(train)
        variance, axes = torch.linalg.eigh(spread * unit**2)
        variance, axes = variance.flip(0), _signed(axes.flip(1))
        varies = variance > variance[0].clamp_min(0) * values * torch.finfo(torch.float64).eps
        gain = torch.where(varies, 1.0, 0.0)
        if self._form != "rotate":
            gain = torch.where(varies, (torch.where(varies, variance, 1.0) + self._epsilon).rsqrt(), 0.0)
        matrix = gain.unsqueeze(1) * axes.T
        self._hold(mean, (axes @ matrix if self._form == "zca" else matrix) * unit)
        still = int((~varies).sum())
        if still:
            self.notes = (f"training samples do not vary in {still} of {values} directions: those become 0",)

    def _hold(self, mean: Tensor, matrix: Tensor) -> None:
        self._mean, self._matrix = mean, matrix.contiguous()
        self._ready.clear()
        self.notes = ()

    def apply(self, inputs: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return M (x - mean) as a new tensor of the input's shape, images in channels-last memory.

        Raises:
            DataInvalid: nothing was fitted or loaded.
            ShapeError: the samples have another number of values than those fitted on.
        """
        work = torch.float64 if dtype == torch.float64 else torch.float32
        mean, matrix = self._constants(inputs, work)
        result = (torch.sub(inputs.flatten(1).to(work), mean) @ matrix).to(dtype).view(inputs.shape)
        return result.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else result

    def _constants(self, inputs: Tensor, work: torch.dtype) -> tuple[Tensor, Tensor]:
        if self._mean is None or self._matrix is None:
            raise DataInvalid(NOT_FITTED)
        if inputs[:1].numel() not in (0, self._mean.numel()):
            raise ShapeError(
                f"preprocessing was fitted on samples of {self._mean.numel()} values, got samples of shape "
                f"{tuple(inputs.shape[1:])}: bring inputs to the shape of training"
            )
        key = (inputs.device, work)
        if key not in self._ready:
            self._ready[key] = (self._mean.to(inputs.device, work), self._matrix.T.contiguous().to(inputs.device, work))
        return self._ready[key]

    def state(self) -> dict[str, Tensor]:
        """Return {"mean" (D,), "matrix" (D, D)} as float64.

        Raises:
            DataInvalid: nothing was fitted or loaded.
        """
        if self._mean is None or self._matrix is None:
            raise DataInvalid(NOT_FITTED)
        return {"mean": self._mean.clone(), "matrix": self._matrix.clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` returned, instead of a fit."""
        mean, matrix = take_state(state, ("mean", "matrix"))
        self._hold(mean, matrix)

    def layer(self, input_shape: Sequence[int]) -> nn.Module | None:
        """Return None: `apply` does all."""
        return None


def _signed(axes: Tensor) -> Tensor:
    """Turn each axis (a column) so that its largest entry is positive: an axis has no direction of its own."""
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)


@preprocessings.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3 (Karhunen-Loeve expansion)')
def pca() -> Projection:
    """Rotate to the principal axes, so that no two inputs are correlated.

    Cures: correlated features, which make long narrow valleys. Costs: D^2 products a sample; on images
    neighbouring values no longer are neighbours, so it suits dense networks only.
    """
    return Projection("rotate", 0.0)


@preprocessings.card(source='LeCun et al. 1998, "Efficient BackProp", section 4.3')
def pca_whiten(*, epsilon: Amount = 1e-5) -> Projection:
    """Rotate to the principal axes and give each of them variance 1.

    Cures: correlated features of different size. Costs: D^2 products a sample; noise in quiet directions
    becomes as large as the signal, which epsilon limits. Suits dense networks only.

    Args:
        epsilon: added to each variance, in units of (x / 255)^2 for images.
    """
    return Projection("whiten", epsilon)


@preprocessings.card(source="Bell and Sejnowski 1997, Vision Research 37(23), section 4")
def zca(*, epsilon: Amount = 1e-5) -> Projection:
    """Whiten, then rotate back, so that the result still looks like the image, with its edges raised.

    Cures: correlated neighbours, for convolutions too. Costs: D^2 products a sample.

    Args:
        epsilon: added to each variance, in units of (x / 255)^2 for images.
    """
    return Projection("zca", epsilon)
