"""Image arrays in any usual layout and number type, brought to one: (N, H, W, C) on the scale 0 to 255.

Two-dimensional arrays are features and become float32 (N, D). What was decided is said in notes;
what cannot be known is asked for, never guessed.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trainwell.data.samples import Kind, Scale
from trainwell.errors import DataInvalid

Layout = Literal["auto", "NHW", "NHWC", "NCHW"]

_CHANNELS = (1, 3)  # grey and RGB: what image files and pretrained networks have
_AXES = {"NHW": 3, "NHWC": 4, "NCHW": 4}
_WHOLE = 1e-3  # of 255: float32 holds k/255 to 2e-5 of that; real images finer than uint8 differ by far more


@dataclass(frozen=True)
class Inputs:
    """Float32 features (N, D), or images (N, H, W, C) as uint8 or float32, with what was decided."""

    tensor: Tensor
    kind: Kind
    notes: tuple[str, ...] = ()
    scale: Scale | None = None  # how images reached 0 to 255; None for features, and for floats kept as they are


def read_inputs(values: Any, *, where: str, layout: Layout = "auto") -> Inputs:
    """Return features or images in the one layout and scale that the rest of the library knows.

    Args:
        values: NumPy array or tensor: (N, D) features; (N, H, W), (N, H, W, C) or (N, C, H, W) images.
        where: what the array is called in an error, such as `x of data.npz`.
        layout: the order of the axes where it cannot be told from the shape.

    Raises:
        DataInvalid: wrong type or shape, no samples, NaN or Inf, or a range that is no image's.
    """
    array = as_array(values, where)
    if array.ndim == 2 and layout == "auto":
        notes = [] if array.dtype == np.float32 else [f"{where} is {array.dtype}: kept as float32 features"]
        return Inputs(torch.from_numpy(np.array(array, dtype=np.float32)), "features", tuple(notes))
    array, note = _to_channels_last(array, where, layout)
    is_float = array.dtype.kind == "f"
    array, scale_note, factor = _to_scale(array, where)
    notes = [words for words in (note, scale_note) if words]
    # torch takes no read-only memory, such as that of a file's bytes
    array = np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"])
    scale = None if factor is None else Scale(factor, is_float)
    return Inputs(torch.from_numpy(array), "images", tuple(notes), scale)


def as_array(values: Any, where: str) -> np.ndarray:
    """Return values as a real, finite, non-empty NumPy array of at least two axes, or say what is wrong."""
    array = _numpy(values)
    if array.dtype == object:
        raise DataInvalid(
            f"{where} is an array of Python objects, usually because its rows differ in shape: give one array of "
            "numbers "
            "(N, H, W), (N, H, W, C) or (N, D), or a folder of image files, where sizes may differ"
        )
    if array.dtype.kind not in "biuf":
        raise DataInvalid(f"{where} must hold whole numbers or floats, got dtype {array.dtype}")
    if array.ndim < 2 or array.ndim > 4:
        raise DataInvalid(
            f"{where} must be (N, D) features or (N, H, W), (N, H, W, C) or (N, C, H, W) images, got shape "
            f"{array.shape}"
        )
    if 0 in array.shape:
        raise DataInvalid(f"{where} has shape {array.shape}: it holds no samples")
    if array.dtype.kind == "f":
        _refuse_non_finite(array, where)
    return array


def _numpy(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except ValueError:  # NumPy's word for rows of different shapes
        return np.array(None, dtype=object)


def _refuse_non_finite(array: np.ndarray, where: str) -> None:
    finite = np.isfinite(array)
    if finite.all():
        return
    bad = np.flatnonzero(~finite.reshape(len(array), -1).all(1))
    place = tuple(int(axis) for axis in np.argwhere(~finite)[0])
    raise DataInvalid(
        f"{where} holds {int((~finite).sum())} values that are NaN or Inf, in {len(bad)} of {len(array)} samples; "
        "the first is "
        f"{array[place]} at index {place}: remove those samples, or fill the values in by a rule of your own"
    )


def _to_channels_last(array: np.ndarray, where: str, layout: Layout) -> tuple[np.ndarray, str]:
    if layout != "auto" and _AXES[layout] != array.ndim:
        raise DataInvalid(f"{where} has shape {array.shape}, which is not the layout {layout} that was asked for")
    if layout == "auto":
        layout = _guess_layout(array, where)
    if layout == "NHW":
        return array[..., None], f"{where} {array.shape} was read as (N, H, W): grey images"
    if layout == "NCHW":
        return array.transpose(0, 2, 3, 1), f"{where} {array.shape} was read as (N, C, H, W)"
    return array, f"{where} {array.shape} was read as (N, H, W, C)"


def _guess_layout(array: np.ndarray, where: str) -> Layout:
    if array.ndim == 3:
        return "NHW"
    last, first = array.shape[3] in _CHANNELS, array.shape[1] in _CHANNELS
    if last and not first:
        return "NHWC"
    if first and not last:
        return "NCHW"
    if last and first:
        raise DataInvalid(
            f"{where} has shape {array.shape}, which can be (N, H, W, C) or (N, C, H, W): say which with layout=NHWC "
            "or layout=NCHW"
        )
    four = ", or drop the alpha channel with x[..., :3]" if array.shape[3] == 4 else ""
    raise DataInvalid(
        f"{where} has shape {array.shape}, where neither the last axis nor the second is 1 (grey) or 3 (RGB) channels: "
        f"to train on other channels say layout=NHWC or layout=NCHW{four}"
    )


def _to_scale(array: np.ndarray, where: str) -> tuple[np.ndarray, str, float | None]:
    """Bring images to 0..255, as uint8 wherever that loses nothing; say so, and what they were multiplied by."""
    if array.dtype == np.uint8:
        return array, "", 1.0
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255), f"{where} is true or false: read as 255 or 0", 255.0
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind in "iu":
        return _integers_to_scale(array, where, low, high)
    if low < 0 or high > 255:
        note = f"{where} is {array.dtype} from {low:.4g} to {high:.4g}, no image's 0 to 1 or 0 to 255: kept as it is"
        return array.astype(np.float32), note, None
    is_unit = high <= 1
    factor = 255.0 if is_unit else 1.0
    scaled = array.astype(np.float32) * np.float32(factor)
    whole = np.rint(scaled)
    range_words = "0 to 1, scaled to 0 to 255" if is_unit else "0 to 255"
    tolerance = 0.07 if is_unit and array.dtype == np.float16 else _WHOLE
    if np.abs(scaled - whole).max() <= tolerance:
        note = f"{where} is {array.dtype} on the scale {range_words}: stored as uint8, which loses nothing"
        return whole.astype(np.uint8), note, factor
    return scaled, f"{where} is {array.dtype} on the scale {range_words}, finer than uint8: stored as float32", factor


def _integers_to_scale(array: np.ndarray, where: str, low: float, high: float) -> tuple[np.ndarray, str, float]:
    if low >= 0 and high <= 255:
        return array.astype(np.uint8), f"{where} is {array.dtype} within 0 to 255: stored as uint8", 1.0
    if array.dtype == np.uint16:
        note = f"{where} is uint16 up to {high:.0f}: read as 16-bit images, divided by 257"
        return (array / np.float32(257)).astype(np.float32), note, 1 / 257
    raise DataInvalid(
        f"{where} must be images on the scale 0 to 255 (uint8), 0 to 65535 (uint16) or floats, got {array.dtype} from "
        f"{low:.0f} to {high:.0f}: convert them, for example to float32"
    )
