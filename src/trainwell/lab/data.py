"""The data sets of experiments: digits, which is always there, MNIST and CIFAR-10 where $TRAINWELL_DATA has them.

Images are (N, C, H, W) uint8 and come in one fixed, shuffled order, so that the first n are a fair sample. An archive
or a folder is decoded once and kept in the lab's cache.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainwell.core.shelves import sources
from trainwell.data.pixels import Unreadable, read_pixels
from trainwell.errors import DataInvalid
from trainwell.lab.cache import cache_folder, digest, write_aside

CHANNELS = {"mnist": 1, "cifar10": 3}
FORM = "2"  # of the files in the cache; another one when their content changes
SPLITS = ("train", "test")
DIGITS_TEST = 360  # of 1,797


class Images(NamedTuple):
    """A data set with its own test split.

    Attributes:
        train, test: (N, C, H, W) uint8 images.
        train_labels, test_labels: (N,) int64 class ids.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def digits() -> Images:
    """Return the 8x8 digits: 1,437 to train, 360 to test, drawn once for all."""
    samples = sources.build("digits")
    order = _order(len(samples.labels))
    images = samples.arrays.permute(0, 3, 1, 2).contiguous()[order]  # (N, H, W, C) -> (N, C, H, W)
    labels = torch.from_numpy(samples.labels)[order]
    return Images(images[DIGITS_TEST:], labels[DIGITS_TEST:], images[:DIGITS_TEST], labels[:DIGITS_TEST])


def mnist() -> Images:
    """Return MNIST: 60,000 images of 1x28x28 to train, 10,000 to test.

    Raises:
        DataInvalid: it is not in $TRAINWELL_DATA.
    """
    return load("mnist")


def cifar10() -> Images:
    """Return CIFAR-10 as it lies in $TRAINWELL_DATA: 50,000 images of 3x32x32 to train, 10,000 to test.

    Raises:
        DataInvalid: it is not in $TRAINWELL_DATA.
    """
    return load("cifar10")


def find(name: str) -> Path | None:
    """Return the folder `NAME` or the archive `NAME.tar.*` in $TRAINWELL_DATA, or None where there is neither."""
    folder = os.environ.get("TRAINWELL_DATA", "")
    if not folder:
        return None
    place = Path(folder)
    candidates = [place / name, *sorted(place.glob(f"{name}.tar*"))]
    return next((path for path in candidates if (path / "train").is_dir() or path.is_file()), None)


def missing(needs: Iterable[str]) -> str:
    """Say which data sets are not there and how to have them examined; empty where all are.

    >>> missing(())
    ''
    """
    absent = [name for name in needs if find(name) is None]
    where = os.environ.get("TRAINWELL_DATA", "")
    words = f"is not in {where}" if where else "is not here: name the folder that holds it in TRAINWELL_DATA"
    return "; ".join(f"{name} {words}" for name in absent)


def fingerprint(name: str) -> str:
    """Return the SHA-256 of the decoded images and labels; decodes them where that was not done yet.

    Raises:
        DataInvalid: the data set is not there, or holds a file that cannot be used.
    """
    with safe_open(_decoded(name), "pt") as file:
        return str(file.metadata()["sha256"])


@cache
def load(name: str) -> Images:
    """Return a data set of $TRAINWELL_DATA by name; the tensors are shared: they must not be changed.

    Raises:
        DataInvalid: it is not there, or holds a file that cannot be used.
    """
    with safe_open(_decoded(name), "pt") as file:
        return Images(*(file.get_tensor(part).clone() for part in Images._fields))


def _decoded(name: str) -> Path:
    """Return the file of decoded images in the cache, made now where there is none or a damaged one."""
    place = find(name)
    if place is None:
        raise DataInvalid(missing((name,)))
    path = cache_folder() / "data" / f"{name}-{_stamp(place)[:16]}.safetensors"
    try:
        with safe_open(path, "pt") as file:
            if set(file.keys()) == set(Images._fields):
                return path
    except (OSError, SafetensorError):  # there is none, or half of one
        pass
    images = _decode(name, place)
    content = hashlib.sha256()
    for tensor in images:
        content.update(tensor.numpy().tobytes())
    write_aside(path, save(images._asdict(), {"sha256": content.hexdigest()}))
    return path


def _stamp(place: Path) -> str:
    """Return what tells one archive or folder from another, without reading it whole."""
    if place.is_file():
        about = place.stat()
        return digest([FORM, str(place.absolute()), about.st_size, about.st_mtime_ns])
    return digest([FORM, str(place.absolute()), [[str(one), one.stat().st_mtime_ns] for one in _class_folders(place)]])


def _class_folders(place: Path) -> Iterator[Path]:
    for split in SPLITS:
        yield from sorted(folder for folder in (place / split).iterdir() if folder.is_dir())


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield `split/class/file` and the content of each image, in whatever order they lie."""
    if place.is_file():
        with tarfile.open(place, "r|*") as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield "/".join(Path(member.name).parts[-3:]), file.read()
        return
    for folder in _class_folders(place):
        for path in folder.iterdir():
            yield f"{folder.parent.name}/{folder.name}/{path.name}", path.read_bytes()


def _decode(name: str, place: Path) -> Images:
    found: dict[str, list[tuple[str, str, np.ndarray]]] = {split: [] for split in SPLITS}
    for path, content in _files(place):
        split, _, rest = path.partition("/")
        if split not in found or not rest.lower().endswith((".png", ".jpg", ".jpeg")):
            continue
        try:
            found[split].append((rest, rest.partition("/")[0], read_pixels(content, CHANNELS[name])))
        except Unreadable as error:
            raise DataInvalid(f"{place}: {path} cannot be decoded: it {error}: unpack the archive again") from None
    classes = sorted({label for rows in found.values() for _, label, _ in rows})
    parts: list[Tensor] = []
    for split, rows in found.items():
        if not rows:
            raise DataInvalid(f"{place} holds no images below {split}: it must be {name}/{split}/CLASS/FILE")
        rows.sort(key=lambda row: row[0])
        order = _order(len(rows))
        pixels = np.stack([rows[place][2] for place in order])
        labels = [classes.index(rows[place][1]) for place in order]
        parts += [torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), torch.tensor(labels)]  # -> (N, C, H, W)
    return Images(*parts)


def _order(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)
