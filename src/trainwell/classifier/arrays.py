"""Arrays and tensors of images or features, brought to the shape and the number type that a classifier takes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainwell.classifier.contract import Contract
from trainwell.data.layouts import as_array, read_inputs
from trainwell.data.resize import ImageForm, fit_into
from trainwell.errors import DataInvalid, ShapeError

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with transparency


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


def to_uint8(images: np.ndarray, where: str) -> np.ndarray:
    """Bring (N, H, W, C) images of any number type to uint8: 16 bits as files of 16 bits, floats as training did.

    Raises:
        DataInvalid: values that are no image's.
    """
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        return ((images.astype(np.uint32) + 128) // 257).astype(np.uint8)
    tensor = read_inputs(images, where=where, layout="NHWC").tensor
    low, high = float(tensor.min()), float(tensor.max())
    if low < 0 or high > 255:
        raise DataInvalid(
            f"{where} holds values from {low:.4g} to {high:.4g}, and this classifier was trained on images from 0 to"
            " 255: give them as they were before any preprocessing"
        )
    return tensor.round().to(torch.uint8).numpy()


def to_floats(images: np.ndarray, form: ImageForm, where: str) -> Tensor:
    """Bring (N, H, W, C) images to float32 samples (N, C, H, W) in a form, scaled as training arrays are.

    Raises:
        ShapeError: other channels than the form has.
    """
    if images.shape[3] != form.channels:
        raise ShapeError(
            f"{where} has images of {images.shape[3]} channels, and this classifier was trained on float images of"
            f" {form.channels}: convert them as in training"
        )
    pixels = read_inputs(images, where=where, layout="NHWC").tensor.float().numpy()
    if pixels.shape[1:] != form.shape:
        whole, pixels = pixels, np.empty((len(pixels), *form.shape), np.float32)
        for row, image in enumerate(whole):
            fit_into(image, form, pixels[row])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def exact(values: Any, contract: Contract, where: str) -> Tensor:
    """Return samples that have their final shape already: (N, D), or (N, C, H, W) images of one form only.

    Raises:
        DataInvalid: no numbers, no samples, NaN or Inf.
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
    if not contract.takes_images or contract.is_streamed:
        return torch.from_numpy(np.array(array, dtype=contract.dtype))
    images = np.ascontiguousarray(np.moveaxis(array, 1, -1))
    if contract.dtype == "uint8":
        return torch.from_numpy(to_uint8(images, where)).permute(0, 3, 1, 2)
    return read_inputs(images, where=where, layout="NHWC").tensor.float().permute(0, 3, 1, 2)
