"""Arrays and tensors of images or features, brought to the shape and the number type that a classifier takes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainwell.classifier.contract import Contract
from trainwell.data.layouts import as_array
from trainwell.data.resize import fit_into
from trainwell.data.samples import Scale
from trainwell.errors import DataInvalid, ShapeError

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with transparency
BY_TYPE = {"bool": 255.0, "uint16": 1 / 257}  # what files of 1 and of 16 bits are multiplied by; others by 1
ROUNDING = 1e-6  # of 255: what a factor such as 1/257 may be off


def as_images(values: Any, where: str) -> np.ndarray:
    """Return one image or many as (N, H, W, C), in whatever number type they have.

    (H, W), (H, W, C), (N, H, W), (N, H, W, C) and (N, C, H, W) are told apart by where 1, 3 or 4 channels can
    be; of an array that can be both, NumPy's has its channels last and torch's has them first.

    Raises:
        DataInvalid: no numbers, no samples, NaN or Inf.
        ShapeError: the array is none of these.
    """
    array = to_numpy(values)
    if array.ndim not in (2, 3, 4):
        raise ShapeError(
            f"{where} has shape {array.shape}: give one image (H, W) or (H, W, C), or many as (N, H, W), (N, H, W, C)"
            " or (N, C, H, W)"
        )
    array = as_array(array, where)
    if array.ndim == 2:
        return array[None, ..., None]
    axes = [axis for axis in (array.ndim - 1, array.ndim - 3) if array.shape[axis] in CHANNELS]
    if array.ndim == 3 and not isinstance(values, Tensor):
        axes = [axis for axis in axes if axis == 2]  # a NumPy image has its channels last, so this is (N, H, W)
    if not axes and array.ndim == 3:
        return array[..., None]
    if not axes:
        raise ShapeError(f"{where} has shape {array.shape}, where neither the last axis nor the second is channels")
    is_last = (axes[-1] if isinstance(values, Tensor) else axes[0]) == array.ndim - 1
    array = array if is_last else np.moveaxis(array, -3, -1)
    return array if array.ndim == 4 else array[None]


def to_numpy(values: Any) -> np.ndarray:
    """Return a tensor on any device, or anything that NumPy knows, as a NumPy array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)


def to_levels(images: np.ndarray, contract: Contract, where: str) -> np.ndarray:
    """Bring arrays of images to the levels 0 to 255, by the factor of the training arrays, and to the samples' dtype.

    Where training samples were files, whole numbers say by their type what scale they are on, and floats do not. Where
    training arrays were floats on no image's scale, arrays are taken as they are.

    Raises:
        DataInvalid: numbers that training arrays could not have held.
    """
    if contract.scale is None and contract.dtype == "float32":
        return images.astype(np.float32)
    factor = _factor(images.dtype, contract.scale)
    low, high = float(images.min()), float(images.max())
    if factor is None or low < 0 or high * factor > 255 * (1 + ROUNDING):
        taken, cure = _taken(contract.scale)
        raise DataInvalid(
            f"{where} holds {images.dtype} values from {low:.4g} to {high:.4g}, and this classifier takes {taken}:"
            f" {cure}"
        )
    if images.dtype == np.uint8 and factor == 1 and contract.dtype == "uint8":
        return images
    levels = images.astype(np.float32) * np.float32(factor)
    return np.rint(levels).clip(0, 255).astype(np.uint8) if contract.dtype == "uint8" else levels


def _factor(dtype: np.dtype[Any], scale: Scale | None) -> float | None:
    """Return what numbers of a type are multiplied by, or None where it cannot be known."""
    if scale is None:
        return None if dtype.kind == "f" else BY_TYPE.get(dtype.name, 1.0)
    is_other_type = not scale.is_float and dtype.kind == "f"
    is_other_mask = dtype.kind == "b" and scale.factor != BY_TYPE["bool"]
    is_other_depth = not scale.is_float and scale.factor < 1 and dtype != np.uint16
    return None if is_other_type or is_other_mask or is_other_depth else scale.factor


def _taken(scale: Scale | None) -> tuple[str, str]:
    """Return in words what is taken, and what to do with other numbers."""
    if scale is None:
        return (
            "arrays of uint8 from 0 to 255 or of uint16 from 0 to 65535, since it was trained on files, which say"
            " nothing of floats",
            "bring floats from 0 to 1 to (255 * x).round() as uint8, and give images as they were before any"
            " preprocessing",
        )
    kind = "numbers" if scale.is_float else "uint16" if scale.factor < 1 else "whole numbers"
    return (
        f"{kind} from 0 to {scale.highest:g}, as the arrays that it was trained on, which are multiplied by"
        f" {scale.factor:.6g}",
        "bring them to that scale, or give image files, whose scale is known",
    )


def to_floats(images: np.ndarray, contract: Contract, where: str) -> Tensor:
    """Bring (N, H, W, C) images to float32 samples (N, C, H, W) in the form of the classifier.

    Raises:
        DataInvalid: numbers that training arrays could not have held.
        ShapeError: other channels than the form has.
    """
    form = contract.form
    assert form is not None
    if images.shape[3] != form.channels:
        raise ShapeError(
            f"{where} has images of {images.shape[3]} channels, and this classifier was trained on float images of"
            f" {form.channels}: convert them as in training"
        )
    pixels = np.require(to_levels(images, contract, where), requirements=["C", "W"])
    if pixels.shape[1:] != form.shape:
        whole, pixels = pixels, np.empty((len(pixels), *form.shape), np.float32)
        for row, image in enumerate(whole):
            fit_into(image, form, pixels[row])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def exact(values: Any, contract: Contract, where: str) -> Tensor:
    """Return samples that have their final shape already: (N, D), or (N, C, H, W) images of one form only.

    Raises:
        DataInvalid: no numbers, no samples, NaN or Inf, or numbers that training arrays could not have held.
        ShapeError: samples of another shape.
    """
    array, shape = to_numpy(values), contract.input_shape
    array = array[None] if array.shape == shape else array
    if contract.takes_images and array.shape[1:] == (*shape[1:], shape[0]) != shape:
        array = np.moveaxis(array, -1, 1)
    if array.shape[1:] != shape:
        raise ShapeError(
            f"{where} has shape {array.shape}, and this classifier takes samples of shape {shape}: give one array"
            f" (N, {', '.join(map(str, shape))})"
        )
    array = as_array(array, where)
    if contract.takes_images:
        array = to_levels(array, contract, where)
    return torch.from_numpy(np.array(array, dtype=contract.dtype))
