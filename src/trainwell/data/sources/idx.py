"""MNIST's own file format: a folder of `...images-idx3-ubyte` and `...labels-idx1-ubyte` files, also as `.gz`."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from trainwell.core.shelves import sources
from trainwell.data.pairs import Pair, join_pairs
from trainwell.data.samples import SPLIT_WORDS, Samples
from trainwell.errors import DataInvalid

_UBYTE = 8  # the third byte of the header: unsigned bytes follow
_MAXIMUM_BYTES = 2**36
_DEEPER = ("raw", "*/raw")  # MNIST/raw is where other libraries put the files


def _is_idx(path: Path) -> bool:
    name = path.name.lower()
    return "ubyte" in name and not name.startswith(".") and path.is_file()


def _folder_of(path: Path) -> Path | None:
    if not path.is_dir():
        return None
    places = [path, *(place for pattern in _DEEPER for place in sorted(path.glob(pattern)) if place.is_dir())]
    return next((place for place in places if any(_is_idx(entry) for entry in place.iterdir())), None)


def _accepts(path: Path) -> bool:
    return _is_idx(path) if path.is_file() else _folder_of(path) is not None


def _example(folder: Path) -> tuple[str, dict[str, Any]]:
    generator = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 10)):
        images = generator.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", (np.arange(count) % 2).astype(np.uint8))
    return str(folder), {}


@sources.card(
    takes="a folder of MNIST files (...-idx3-ubyte)", accepts=_accepts, example=_example,
    source="LeCun, Cortes, Burges 1998, the MNIST database: file formats",
)  # fmt: skip
def idx(location: str) -> Samples:
    """MNIST files: train and t10k images and labels in IDX format, plain or .gz, with their own test split.

    Args:
        location: the folder that holds the files (or raw, or NAME/raw below it), or one file of images.

    Raises:
        DataInvalid: a file of the pair is missing, damaged, or not unsigned bytes.
    """
    path = Path(location)
    folder = path.parent if path.is_file() else _folder_of(path)
    if folder is None:
        raise DataInvalid(
            f"{path} holds no MNIST files: give a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte "
            "(also .gz)"
        )
    images = (
        [path]
        if path.is_file()
        else [entry for entry in sorted(folder.iterdir()) if _is_idx(entry) and "image" in entry.name.lower()]
    )
    if not images:
        raise DataInvalid(f"{folder} holds IDX files but none of images: train-images-idx3-ubyte is missing")
    pairs: dict[str, Pair] = {}
    for file in images:
        pair = _pair(file)
        if pair.split in pairs:
            raise DataInvalid(
                f"{folder} holds two files of {pair.split or 'unnamed'} images, {pairs[pair.split].x_name} and "
                f"{pair.x_name}: "
                "give the path of one, or remove one"
            )
        pairs[pair.split] = pair
    ordered = [pairs[split] for split in ("", "train", "val", "test") if split in pairs]
    return join_pairs([ordered[0]] if len(ordered) == 1 else ordered, layout="NHW")


def _pair(images: Path) -> Pair:
    split = next(
        (
            SPLIT_WORDS[word]
            for word in images.name.lower().replace(".", "-").replace("_", "-").split("-")
            if word in SPLIT_WORDS
        ),
        "",
    )
    wanted = (
        images.name.lower()
        .removesuffix(".gz")
        .replace("images", "labels")
        .replace("image", "label")
        .replace("idx3", "idx1")
    )
    labels = next(
        (file for file in sorted(images.parent.iterdir()) if file.name.lower().removesuffix(".gz") == wanted), None
    )
    if labels is None or labels == images:
        raise DataInvalid(f"{images} has no labels beside it: {wanted} (also .gz) is missing in {images.parent}")
    return Pair(split, read_idx(images, axes=3), read_idx(labels, axes=1), images.name, labels.name)


def read_idx(path: Path, *, axes: int) -> np.ndarray:
    """Return the unsigned bytes of an IDX file as an array with that many axes.

    Raises:
        DataInvalid: the file is empty, no IDX file, of other numbers or axes, or not as long as its header says.
    """
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if not head:
                raise DataInvalid(f"{path} is empty (0 bytes): download it again")
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UBYTE or head[3] != axes:
                raise DataInvalid(
                    f"{path} must begin with the IDX header 00 00 08 0{axes} (unsigned bytes, {axes} axes), got "
                    f"{head.hex(' ')}: "
                    "it is another file, or damaged"
                )
            sizes = file.read(4 * axes)
            shape = tuple(int.from_bytes(sizes[place : place + 4], "big") for place in range(0, 4 * axes, 4))
            size = math.prod(shape)
            if len(sizes) < 4 * axes or not 0 < size <= _MAXIMUM_BYTES:
                raise DataInvalid(
                    f"{path} says in its header that it has shape {shape}, which cannot be: it is damaged"
                )
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{path} cannot be read: {error}; download it again") from error
    if len(content) != size:
        more = "more" if len(content) > size else f"{len(content)}"
        raise DataInvalid(
            f"{path} must hold {size} bytes after its header for shape {shape}, got {more}: it is truncated or "
            "damaged; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes in IDX format, compressed where the name ends in `.gz`."""
    content = bytes([0, 0, _UBYTE, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
