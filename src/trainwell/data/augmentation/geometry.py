"""Geometric changes as 3x3 matrices, one for each image: flips, shifts, rotation, scale and shear.

A matrix sends a point (x, y, 1) of the image to its place in the changed image. Coordinates are pixels
with pixel *corners* at whole numbers: the image spans [0, W] x [0, H], the first pixel's centre is
(0.5, 0.5), and a horizontal flip sends x to W - x. Ops in a list are multiplied into one matrix and the
image is resampled once (`trainwell.data.augmentation.warp`).

Source: Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", section 2.4.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from trainwell.core.shelves import augmentations
from trainwell.core.units import Degrees, Fraction, Pixels, Positive, Unit
from trainwell.errors import OptionInvalid

Padding = Literal["zero", "edge", "reflect"]
Slant = Annotated[float, Ge(0), Lt(90), Unit("degrees")]


class Geometric(ABC):
    """One geometric op: so many uniform draws for a sample in, one matrix for the sample out.

    Attributes:
        draws: uniform numbers that one sample needs.
        reach: how far, in pixels, a whole-pixel op moves content beyond the frame; None where the op
            may land between pixels, and the image has to be interpolated.
        mirrors: whether left and right may change places.
        padding: what lies outside the image (`zero` is black, `edge` repeats the border pixel, `reflect`
            mirrors without repeating it); None where nothing from outside can come into view.
    """

    draws: int
    reach: int | None
    mirrors: bool
    padding: Padding | None

    @abstractmethod
    def matrices(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return (N, 3, 3) float32 matrices from (N, draws) uniform numbers in [0, 1)."""


def compose(later: Tensor, earlier: Tensor) -> Tensor:
    """Return the (N, 3, 3) matrices that do `earlier` first; plain sums, so no device rounds them to TF32.

    >>> eye = torch.eye(3).unsqueeze(0)
    >>> bool((compose(eye, eye) == eye).all())
    True
    """
    return (later.unsqueeze(-1) * earlier.unsqueeze(-3)).sum(-2)


def translation(dx: Tensor, dy: Tensor) -> Tensor:
    """Return matrices that move content dx pixels to the right and dy down: (N,), (N,) -> (N, 3, 3).

    >>> translation(torch.tensor([2.0]), torch.tensor([0.0]))[0, 0].tolist()
    [1.0, 0.0, 2.0]
    """
    zero, one = torch.zeros_like(dx), torch.ones_like(dx)
    return torch.stack([one, zero, dx, zero, one, dy, zero, zero, one], dim=1).view(-1, 3, 3)


def _mirrored(uniform: Tensor, probability: float, row: int, length: int) -> Tensor:
    """Matrices that send coordinate `row` to length - coordinate where the draw says so."""
    plain = torch.eye(3, device=uniform.device)
    change = torch.zeros(3, 3, device=uniform.device)
    change[row, row], change[row, 2] = -2.0, float(length)
    return torch.addcmul(plain, (uniform < probability).to(torch.float32).unsqueeze(2), change)


@augmentations.card("horizontal_flip", source="Krizhevsky et al. 2012, section 4.1")
class HorizontalFlip(Geometric):
    """Mirror left and right, for some of the images.

    Cures: too little data for things that have no handedness. Costs: little; wrong for text and digits.

    Args:
        probability: share of the images that are mirrored.

    >>> HorizontalFlip(probability=1.0).matrices(torch.zeros(1, 1), 32, 32)[0, 0].tolist()
    [-1.0, 0.0, 32.0]
    """

    draws, reach, mirrors, padding = 1, 0, True, None

    def __init__(self, *, probability: Fraction = 0.5) -> None:
        self.probability = probability

    def matrices(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return matrices with x -> W - x where the draw is below the probability."""
        return _mirrored(uniform, self.probability, 0, width)


@augmentations.card("vertical_flip", source="Krizhevsky et al. 2012, section 4.1 (there horizontal)")
class VerticalFlip(Geometric):
    """Mirror top and bottom, for some of the images.

    Cures: too little data where up means nothing (microscopes, aerial views). Costs: next to nothing.

    Args:
        probability: share of the images that are mirrored.
    """

    draws, reach, mirrors, padding = 1, 0, False, None

    def __init__(self, *, probability: Fraction = 0.5) -> None:
        self.probability = probability

    def matrices(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return matrices with y -> H - y where the draw is below the probability."""
        return _mirrored(uniform, self.probability, 1, height)


@augmentations.card("shift", source="He et al. 2016, arXiv:1512.03385, section 4.2")
class Shift(Geometric):
    """Move by whole pixels: a random crop of the image padded by `pixels` on each side.

    Cures: a network that learns places instead of things. Costs: little; no pixel value changes.

    Args:
        pixels: the farthest move in each direction; all whole moves are equally likely.
        padding: what comes in from outside: black, the border pixel repeated, or the mirror image.
    """

    draws, mirrors = 2, False

    def __init__(self, *, pixels: Pixels = 4, padding: Padding = "zero") -> None:
        self.pixels = pixels
        self.reach = pixels
        self.padding = padding

    def matrices(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return translations, each coordinate uniform over -pixels ... pixels."""
        moves = (uniform * (2 * self.pixels + 1)).floor() - self.pixels  # (N, 2)
        return translation(moves[:, 0], moves[:, 1])


@augmentations.card("affine", source="Simard et al. 2003, ICDAR, section 2")
class Affine(Geometric):
    """Rotate, scale, shear and move around the image's centre, each by a random amount.

        M = T(centre + t) R(angle) S(scale) K(shear) T(-centre)

    Cures: too little data where things come in many poses. Costs: one interpolation, which blurs a little.

    Args:
        rotation: largest angle to either side, uniform.
        smallest: smallest scale; below 1 the content shrinks.
        largest: largest scale; drawn so that its logarithm is uniform.
        shear: largest angle by which upright lines lean to either side, uniform.
        translation: largest move to either side, as a share of the image's width and height.
        padding: what comes in from outside: black, the border pixel repeated, or the mirror image.

    Raises:
        OptionInvalid: smallest is above largest.
    """

    draws, reach, mirrors = 5, None, False

    def __init__(
        self,
        *,
        rotation: Degrees = 10.0,
        smallest: Positive = 0.9,
        largest: Positive = 1.1,
        shear: Slant = 0.0,
        translation: Fraction = 0.0,
        padding: Padding = "zero",
    ) -> None:
        if smallest > largest:
            raise OptionInvalid(f"affine:smallest must be at most largest = {largest}, got {smallest}: swap the two")
        self.rotation, self.smallest, self.largest = rotation, smallest, largest
        self.shear, self.translation, self.padding = shear, translation, padding

    def matrices(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return M for each sample; draws are angle, scale, shear, move in x, move in y."""
        centred = uniform * 2 - 1  # (N, 5) in [-1, 1)
        angle = centred[:, 0] * math.radians(self.rotation)
        low, high = math.log(self.smallest), math.log(self.largest)
        scale = torch.exp(uniform[:, 1] * (high - low) + low)
        lean = torch.tan(centred[:, 2] * math.radians(self.shear))
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        linear = [cos, cos * lean - sin, zero, sin, sin * lean + cos, zero, zero, zero, one]  # R S K
        middle = torch.full_like(cos, width / 2), torch.full_like(cos, height / 2)
        share = centred[:, 3:] * self.translation
        moved = middle[0] + share[:, 0] * width, middle[1] + share[:, 1] * height
        around = compose(torch.stack(linear, dim=1).view(-1, 3, 3), translation(-middle[0], -middle[1]))
        return compose(translation(*moved), around)
