"""Inputs and labels as arrays in one `.npz` file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.core.shelves import sources
from trainwell.core.task import TaskWish
from trainwell.data.layouts import Layout
from trainwell.data.pairs import find_pairs, join_pairs
from trainwell.data.samples import Samples
from trainwell.errors import DataInvalid


def _accepts(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".npz"


def _example(folder: Path) -> tuple[str, dict[str, Any]]:
    generator = np.random.default_rng(0)
    path = folder / "shapes.npz"
    np.savez(path, x=generator.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), y=np.arange(24) % 3)
    return str(path), {}


@sources.card(takes="a .npz file of arrays x and y", accepts=_accepts, example=_example)
def arrays(
    location: str,
    *,
    x: str | None = None,
    y: str | None = None,
    layout: Layout = "auto",
    task: TaskWish = "auto",
) -> Samples:
    """Arrays in a .npz file: x and y, or x_train, y_train, x_test, y_test and other usual spellings.

    Args:
        location: the file.
        x: name of the array of inputs, where it is not a usual one.
        y: name of the array of labels, where it is not a usual one.
        layout: order of the axes of images, where the shape does not tell it.
        task: what the labels are: classes, numbers (regression), or labels of 0 and 1; by default what they hold says.

    Raises:
        DataInvalid: the file is no sound .npz, or its arrays cannot be used.
    """
    named = read_npz(Path(location))
    pairs, classes = find_pairs(named, where=Path(location).name, x=x, y=y)
    return join_pairs(pairs, layout=layout, classes=classes, task=task)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a `.npz` by name; Python objects in it are refused, because reading them runs code.

    Raises:
        DataInvalid: the file is missing, empty, damaged, no .npz, or holds Python objects.
    """
    try:
        if path.stat().st_size == 0:
            raise DataInvalid(f"{path} is empty (0 bytes): save it again with np.savez(path, x=x, y=y)")
        if not zipfile.is_zipfile(path):
            raise DataInvalid(f"{path} is damaged or no .npz file: save it again with np.savez(path, x=x, y=y)")
        with np.load(path, allow_pickle=False) as file:
            return {name: _array(file, name, path) for name in file.files}
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataInvalid(f"{path} cannot be read: {error}; save it again with np.savez(path, x=x, y=y)") from error


def _array(file: Any, name: str, path: Path) -> np.ndarray:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        if "pickle" not in str(error):
            raise DataInvalid(f"array {name} of {path} cannot be read: {error}; save it again with np.savez") from error
        raise DataInvalid(
            f"array {name} of {path} holds Python objects (dtype object), which are not loaded because loading them "
            "can run code: "
            "save plain numbers, or texts with a dtype such as '<U20'"
        ) from error
