"""Bring an image of any size to the size that a network expects.

Three policies: `crop` brings the shorter side to size and cuts the centre out, `pad` brings the longer
side to size and fills up with black, `stretch` brings each side to size and changes the proportions.
The kernel is bilinear with antialias (a triangle as wide as the scale), in 8-bit arithmetic.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

Policy = Literal["crop", "pad", "stretch"]

KERNEL = f"torch {torch.__version__.partition('+')[0]} interpolate, bilinear, antialias, uint8"


@dataclass(frozen=True)
class ImageForm:
    """What every image of a data set becomes: height, width, 1 (grey) or 3 (RGB) channels, and how."""

    height: int
    width: int
    channels: Literal[1, 3]
    policy: Policy = "crop"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) as it lies in memory."""
        return self.height, self.width, self.channels


def whole_size(height: int, width: int, form: ImageForm) -> tuple[int, int]:
    """Return the (height, width) of the whole image after resizing, before anything is cut off or filled up.

    >>> whole_size(300, 400, ImageForm(224, 224, 3, "crop")), whole_size(300, 400, ImageForm(224, 224, 3, "pad"))
    ((224, 298), (168, 224))
    """
    if form.policy == "stretch":
        return form.height, form.width
    # The side that decides is compared in whole numbers, so that it comes out exactly at its size.
    height_decides = (form.height * width >= form.width * height) == (form.policy == "crop")
    if height_decides:
        return form.height, max(1, form.height * width // height)
    return max(1, form.width * height // width), form.width


def fit_into(image: np.ndarray, form: ImageForm, out: np.ndarray) -> None:
    """Write an image in the form asked for into `out`.

    Args:
        image: (h, w, C) uint8 of any size; C as in `form`.
        form: what it becomes.
        out: (H, W, C) uint8, all of it overwritten.
    """
    height, width = whole_size(image.shape[0], image.shape[1], form)
    resized = resize(image, height, width)
    if form.policy == "pad":
        top, left = (form.height - height) // 2, (form.width - width) // 2
        out[...] = 0
        out[top : top + height, left : left + width] = resized
        return
    top, left = round((height - form.height) / 2), round((width - form.width) / 2)
    out[...] = resized[top : top + form.height, left : left + form.width]


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an (h, w, C) image, uint8 or float32, at (height, width, C); the same array where it is so already."""
    if image.shape[:2] == (height, width):
        return image
    channels = image.shape[2]
    if channels == 1 and image.dtype == np.uint8:
        # The vectorized kernel takes 3 or 4 channels: four equal ones are faster than one alone.
        image = (image.astype(np.uint32) * 0x01010101).view(np.uint8)  # (h, w, 1) -> (h, w, 4)
    # The axis of one goes in first: only then is the tensor channels-last to torch, and so is its answer.
    pixels = torch.from_numpy(np.ascontiguousarray(image)).unsqueeze(0).permute(0, 3, 1, 2)  # (h, w, C) -> (1, C, h, w)
    resized = functional.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()[..., :channels]
