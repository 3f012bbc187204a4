"""What may be given to a classifier, brought to one of two things: images to be decoded, or samples that are ready.

Files, bytes, Pillow images and arrays of any size become a list of `Source`; arrays of samples in their final
form become one tensor.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainwell.classifier.arrays import as_images, exact, to_floats, to_levels
from trainwell.classifier.contract import Contract
from trainwell.classifier.reading import Source
from trainwell.data.badfiles import READ_SUFFIXES, is_image_name
from trainwell.data.samples import first_rows
from trainwell.data.sources.table import is_table, read_features
from trainwell.errors import DataInvalid, ShapeError

TAKEN = "a path, a folder, bytes, a Pillow image, an array, or a list of these"
_WHERE = "the array"


def read_inputs_of(inputs: object, contract: Contract) -> list[Source] | Tensor:
    """Return what was given as images to be decoded, or as samples (N, C, H, W) or (N, D) for the preprocessing.

    Raises:
        DataInvalid: nothing, or nothing that a classifier of this kind takes.
        ShapeError: arrays of another shape than the classifier was trained on.
    """
    if isinstance(inputs, np.ndarray | Tensor):
        return _read_array(inputs, contract)
    if isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        inputs = [inputs]
    if not isinstance(inputs, Iterable) or isinstance(inputs, dict | set):
        raise DataInvalid(f"a classifier takes {TAKEN}, got {type(inputs).__name__}")
    items = list(inputs)
    if not items:
        raise DataInvalid(f"there is nothing to answer for, the list is empty: give {TAKEN}")
    if contract.columns and all(isinstance(item, str | os.PathLike) and is_table(Path(item)) for item in items):
        return torch.from_numpy(np.concatenate([read_features(Path(item), contract.columns) for item in items]))
    if not contract.takes_files:
        return _read_array(_stacked(items, contract), contract)
    return [source for place, item in enumerate(items) for source in _sources(place, item, contract)]


def _read_array(values: np.ndarray | Tensor, contract: Contract) -> list[Source] | Tensor:
    if contract.form is None:
        return exact(values, contract, _WHERE)
    images = as_images(values, _WHERE)
    if contract.dtype == "float32":
        return to_floats(images, contract, _WHERE)
    pixels = _owned(to_levels(images, contract, _WHERE))
    if pixels.shape[1:] == contract.form.shape:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
    return [Source(f"row {row}", image) for row, image in enumerate(pixels)]


def _owned(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in memory that torch takes: in order, and not read-only."""
    return np.require(pixels, requirements=["C", "W"])


def _stacked(items: Sequence[object], contract: Contract) -> np.ndarray | Tensor:
    """Return samples that were given one by one as one array."""
    shape = f"(N, {', '.join(map(str, contract.input_shape))})"
    table = ", or a .csv table with the columns of the training table" if contract.columns else ""
    if any(isinstance(item, str | os.PathLike | bytes | bytearray | memoryview | Image.Image) for item in items):
        raise DataInvalid(
            f"this classifier was trained on {'arrays of floats' if contract.takes_images else 'features'}, so how a"
            f" file becomes a sample is not known: give an array of shape {shape}{table}"
        )
    if isinstance(items[0], Tensor):
        items = [item.detach().cpu().numpy() if isinstance(item, Tensor) else item for item in items]
    try:
        return np.stack([np.asarray(item) for item in items])
    except ValueError:
        raise ShapeError(f"the {len(items)} samples differ in shape: give one array of shape {shape}") from None


def _sources(place: int, item: object, contract: Contract) -> Iterator[Source]:
    name = f"row {place}"
    if isinstance(item, str | os.PathLike):
        path = Path(os.fsdecode(item))
        files = _images_below(path) if path.is_dir() else [path]
        yield from (Source(str(file), file) for file in files)
    elif isinstance(item, bytes | bytearray | memoryview):
        yield Source(name, bytes(item))
    elif isinstance(item, Image.Image):
        yield Source(str(getattr(item, "filename", "") or name), item)
    elif isinstance(item, np.ndarray | Tensor):
        images = _owned(to_levels(as_images(item, name), contract, name))
        if len(images) != 1:
            raise ShapeError(
                f"{name} of the list has shape {tuple(item.shape)}, which is more than one image: give an array of"
                " many images by itself, not in a list"
            )
        yield Source(name, images[0])
    else:
        raise DataInvalid(f"{name} of the list is of type {type(item).__name__}: a classifier takes {TAKEN}")


def _images_below(folder: Path) -> list[Path]:
    """Return all image files in a folder and the folders in it, by name; hidden ones are left out.

    Raises:
        DataInvalid: there are none, or a folder cannot be read.
    """
    images: list[Path] = []
    others: list[str] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataInvalid(f"the folder {error.filename} cannot be read: {error.strerror}; check its permissions")

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in files:
            path = Path(place, name)
            if is_image_name(name) and not name.startswith("."):
                images.append(path)
            else:
                others.append(str(path.relative_to(folder)))
    if not images:
        noun = "other file" if len(others) == 1 else "other files"
        lies = f"only {len(others)} {noun} ({first_rows(sorted(others))})" if others else "no files at all"
        raise DataInvalid(f"the folder {folder} holds no images, {lies}: read are {', '.join(READ_SUFFIXES)}")
    return sorted(images)
