"""Small synthetic data sets whose symmetries are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwell.data.prepare import DataSpec, Prepared, prepare

SIDE = 8  # pixels of the synthetic images
Images = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def prepared() -> Callable[..., Prepared]:
    """Split and decode samples that are handed over: `prepared((x, y), val_fraction=0.2)`."""

    def make(data: object = None, **spec: Any) -> Prepared:
        return prepare(DataSpec(**spec), seed=0, threads=1, given=data)

    return make


@pytest.fixture
def images() -> Callable[..., Images]:
    """Noise with two classes or more, one after another: `images(40, 20, 20, 3)`."""

    def make(count: int, *shape: int, classes: int = 2) -> Images:
        pixels = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
        return pixels, np.arange(count) % classes

    return make


@pytest.fixture
def wide_npz(tmp_path: Path) -> Callable[[int], str]:
    """A `.npz` of images of any number of channels; its path."""

    def make(channels: int) -> str:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 20, channels)).astype(np.uint8)
        np.savez(tmp_path / "wide.npz", x=pixels, y=np.arange(40) % 2)
        return str(tmp_path / "wide.npz")

    return make


def drawn(shapes: list[list[str]], count: int) -> Images:
    """Draw each class's shape of 5x5 pixels at random places on noise; as many places left as right.

    Returns:
        (count, SIDE, SIDE, 1) uint8 images and their classes.
    """
    generator = np.random.default_rng(3)
    labels = np.arange(count) % len(shapes)
    pixels = generator.integers(0, 60, (count, SIDE, SIDE, 1))
    inks = [np.array([[mark == "#" for mark in row] for row in shape]) for shape in shapes]
    for image, label in zip(pixels, labels, strict=True):
        row, column = generator.integers(0, SIDE - 4, 2)
        image[row : row + 5, column : column + 5, 0] += 180 * inks[label]
    return pixels.astype(np.uint8), labels


@pytest.fixture
def symmetric() -> Callable[[int], Images]:
    """Crosses and boxes, which look the same in a mirror and upside down."""
    cross, box = ["..#..", "..#..", "#####", "..#..", "..#.."], ["#####", "#...#", "#...#", "#...#", "#####"]
    return lambda count: drawn([cross, box], count)


@pytest.fixture
def arrows() -> Callable[[int], Images]:
    """Turn left and turn right, whose mirror images are members of the other class."""
    right = ["..#..", "...#.", "#####", "...#.", "..#.."]
    return lambda count: drawn([right, [row[::-1] for row in right]], count)
