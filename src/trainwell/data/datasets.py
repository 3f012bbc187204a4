"""A user's own torch Dataset: probed twice on a few items, then stored, or left to stream.

An item is (input, label); the input a Pillow image, an array or a tensor. Whatever a Dataset raises
is passed on with the index that it was asked for.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from trainwell.data.layouts import read_inputs
from trainwell.data.samples import Scale
from trainwell.errors import DataInvalid

PROBED_ITEMS = 16  # a flip with probability 1/2 answers 16 items alike twice in 1 of 65,536 cases


@dataclass(frozen=True)
class DatasetRead:
    """What one pass over a Dataset found.

    Attributes:
        labels: N labels as the Dataset gives them.
        inputs: (N, ...) all inputs, or the probed few where the Dataset streams.
        streams: whether the Dataset is random or too large to be stored.
        digests: N content hashes; of the index where the content is random.
        notes: what was decided, in words.
    """

    labels: np.ndarray
    inputs: np.ndarray
    streams: bool
    digests: tuple[str, ...]
    notes: tuple[str, ...]


def read_dataset(dataset: Any, *, where: str, budget: int) -> DatasetRead:
    """Return all items of a Dataset, or its labels alone where it must stream.

    Raises:
        DataInvalid: the Dataset is empty, raises, or its items are no (input, label) of one shape.
    """
    count = _count(dataset, where)
    rows = sorted({int(row) for row in np.linspace(0, count - 1, min(count, PROBED_ITEMS))})
    probes = {row: fetch(dataset, row, where) for row in rows}
    is_random = not all(_equal(probes[row], fetch(dataset, row, where)) for row in rows)
    size = count * next(iter(probes.values()))[0].nbytes
    read = _Pass(dataset, where, count, probes, keeps=not is_random and size <= budget)
    if not is_random and not read.agrees:
        is_random = True
    few = np.stack([x for x, _ in probes.values()])
    if is_random:
        digests = tuple(hashlib.sha256(f"{where}\0{row}".encode()).hexdigest() for row in range(count))
        note = (
            f"{where} answers differently when asked twice, so it streams and is not stored; "
            "it is split by index, not by content"
        )
        return DatasetRead(read.labels, few, True, digests, (note,))
    if read.inputs is None:
        need, have = f"{size / 2**30:.2f} GiB", f"{budget / 2**30:.2f} GiB"
        note = f"{where} would take {need}, over the memory budget of {have}, so it streams"
        return DatasetRead(read.labels, few, True, tuple(read.digests), (note,))
    note = (
        f"{where} answers the same when asked twice on {len(rows)} items: its {count} items were read once and stored"
    )
    return DatasetRead(read.labels, read.inputs, False, tuple(read.digests), (note,))


class _Pass:
    """One pass over all items: their labels, their hashes and, if kept, their inputs."""

    def __init__(
        self, dataset: Any, where: str, count: int, probes: dict[int, tuple[np.ndarray, Any]], *, keeps: bool
    ) -> None:
        first = probes[0][0]
        self.inputs = np.empty((count, *first.shape), first.dtype) if keeps else None
        self.digests: list[str] = []
        self.agrees = True
        labels = []
        for row in range(count):
            x, y = fetch(dataset, row, where)
            if x.shape != first.shape or x.dtype != first.dtype:
                raise DataInvalid(
                    f"{where} gives inputs of different kinds: index 0 is {first.shape} {first.dtype}, index {row} is "
                    f"{x.shape} {x.dtype}; bring them to one shape and dtype in the dataset"
                )
            if row in probes and not _equal(probes[row], (x, y)):
                self.agrees = False
            if self.inputs is not None:
                self.inputs[row] = x
            self.digests.append(hashlib.sha256(f"{x.shape}".encode() + x.tobytes()).hexdigest())
            labels.append(y)
        lengths = {len(label) if isinstance(label, tuple) else 1 for label in labels}
        if len(lengths) > 1:
            raise DataInvalid(
                f"{where} gives {' and '.join(map(str, sorted(lengths)))} labels an item: give as many each"
            )
        self.labels = np.asarray(labels)


def _count(dataset: Any, where: str) -> int:
    try:
        count = len(dataset)
    except TypeError:
        raise DataInvalid(f"{where} has no length: give a map-style Dataset with __len__ and __getitem__") from None
    if count == 0:
        raise DataInvalid(f"{where} is empty: it has length 0")
    return count


def fetch(dataset: Any, row: int, where: str) -> tuple[np.ndarray, Any]:
    """Return one item as (array, label), or say at which index the Dataset failed and with what."""
    try:
        item = dataset[row]
    except Exception as error:  # a user's own code may raise anything; its words and its index are what helps
        raise DataInvalid(f"{where} raised {type(error).__name__} at index {row}: {error}") from error
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise DataInvalid(f"{where} must give (input, label) for each index, got {_words(item)} at index {row}")
    x, y = item
    if isinstance(x, Image.Image):
        x = np.asarray(x if x.mode in ("L", "RGB") else x.convert("RGB"))
    array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3):
        raise DataInvalid(
            f"{where} must give inputs that are images or features, got {_words(x)} at index {row}: "
            "an array, tensor or Pillow image of shape (D,), (H, W), (H, W, C) or (C, H, W)"
        )
    return array, _label(y, where, row)


def _label(label: Any, where: str, row: int) -> Any:
    is_number_like = isinstance(label, (Tensor, np.ndarray, np.generic)) and int(np.prod(label.shape)) == 1
    value = label.item() if is_number_like else label
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 1 and len(value):
        return tuple(value.tolist())  # several numbers, or labels of 0 and 1
    if not isinstance(value, (int, float, str)):
        raise DataInvalid(f"{where} must give one class id or name a sample, got {_words(label)} at index {row}")
    return value


def _words(value: Any) -> str:
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else ""
    length = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{shape}{length}"


def _equal(one: tuple[np.ndarray, Any], other: tuple[np.ndarray, Any]) -> bool:
    same_kind = one[0].shape == other[0].shape and one[0].dtype == other[0].dtype
    return same_kind and one[0].tobytes() == other[0].tobytes() and one[1] == other[1]


class StreamedItems(Dataset[tuple[Tensor, int]]):
    """A user's Dataset as the loader wants it: images (C, H, W) from 0 to 255, or features (D,), and class ids."""

    def __init__(self, dataset: Any, labels: np.ndarray, where: str, form: Callable[[np.ndarray], Tensor]) -> None:
        self._dataset = dataset
        self._labels = labels
        self._where = where
        self._form = form

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        x, _ = fetch(self._dataset, row, self._where)
        return self._form(x), int(self._labels[row]) if self._labels.ndim == 1 else 0  # numbers: the store has them


def streamed_form(probes: np.ndarray, where: str) -> "StreamedForm":
    """Return how items of a Dataset that streams become tensors, as the probed few show it."""
    read = read_inputs(probes, where=where)
    shape = tuple(read.tensor.shape[1:])
    is_channels_first = read.kind == "images" and probes.ndim == 4 and shape != probes.shape[1:]
    return StreamedForm(read.kind == "images", is_channels_first, read.scale)


@dataclass(frozen=True)
class StreamedForm:
    """How one item becomes a tensor: the layout and scale found on the probed items."""

    is_image: bool
    is_channels_first: bool
    scale: Scale | None = None

    def __call__(self, x: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(x))
        if self.is_image and tensor.ndim == 2:
            tensor = tensor[None]  # (H, W) -> (1, H, W)
        elif self.is_image and not self.is_channels_first:
            tensor = tensor.permute(2, 0, 1).contiguous()  # (H, W, C) -> (C, H, W)
        if tensor.dtype == torch.uint8 and self.is_image:
            return tensor
        return tensor.float() if self.scale is None else tensor.float() * self.scale.factor
