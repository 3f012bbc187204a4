"""MNIST files: plain and compressed, with their own test split, and all that can be damaged about them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from trainwell.core.shelves import sources
from trainwell.data.samples import Samples, infer_source
from trainwell.data.sources.idx import write_idx
from trainwell.errors import DataInvalid

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def make(folder: Path, *splits: str, ending: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        write_idx(folder / f"{split}-images-idx3-ubyte{ending}", IMAGES)
        write_idx(folder / f"{split}-labels-idx1-ubyte{ending}", LABELS)
    return folder


def read(location: Path) -> Samples:
    return sources.build("idx", location=str(location))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_train_and_test_files_are_read_bit_for_bit(tmp_path: Path, ending: str) -> None:
    samples = read(make(tmp_path, "train", "t10k", ending=ending))
    assert samples.arrays is not None
    assert torch.equal(samples.arrays[:6, ..., 0], torch.from_numpy(IMAGES))
    assert samples.labels.tolist() == LABELS.tolist() * 2
    assert samples.splits.tolist() == ["train"] * 6 + ["test"] * 6


def test_the_header_is_big_endian_as_published(tmp_path: Path) -> None:
    make(tmp_path, "train")
    content = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    assert content[:16] == bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5])


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
def test_the_folder_is_recognised_also_from_above(tmp_path: Path, place: str) -> None:
    make(tmp_path / place, "train")
    assert infer_source(str(tmp_path)).name == "idx"
    assert len(read(tmp_path)) == 6


def test_one_file_of_images_is_enough_to_find_its_labels(tmp_path: Path) -> None:
    make(tmp_path, "train", "t10k")
    samples = read(tmp_path / "t10k-images-idx3-ubyte")
    assert len(samples) == 6
    assert set(samples.splits) == {"test"}


def damaged(folder: Path, name: str, content: bytes) -> Path:
    make(folder, "train")
    (folder / name).write_bytes(content)
    return folder


WHOLE = bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5]) + IMAGES.tobytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (WHOLE[:-1], "must hold 120 bytes after its header for shape (6, 4, 5), got 119: it is truncated or damaged"),
        (WHOLE + b"x", "got more"),
        (WHOLE[:9], "says in its header that it has shape"),
        (
            bytes([0, 0, 13, 3]) + WHOLE[4:],
            "must begin with the IDX header 00 00 08 03 (unsigned bytes, 3 axes), got 00 00 0d 03",
        ),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + WHOLE[16:], "which cannot be: it is damaged"),
        (b"<html>", "must begin with the IDX header"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataInvalid) as caught:
        read(damaged(tmp_path, "train-images-idx3-ubyte", content))
    assert words in str(caught.value)
    assert "train-images-idx3-ubyte" in str(caught.value)


def test_a_truncated_gz_is_said(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(WHOLE)[:-20])
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    with pytest.raises(DataInvalid, match=r"cannot be read: .*download it again"):
        read(tmp_path)


def test_missing_labels_are_said(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(DataInvalid, match="has no labels beside it: train-labels-idx1-ubyte"):
        read(tmp_path)


def test_unequal_lengths_are_said(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:4])
    with pytest.raises(DataInvalid, match="holds 6 samples and train-labels-idx1-ubyte holds 4 labels"):
        read(tmp_path)


def test_plain_and_compressed_beside_each_other_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "train")
    make(tmp_path, "train", ending=".gz")
    with pytest.raises(DataInvalid, match="two files of train images"):
        read(tmp_path)


def test_a_folder_without_such_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="holds no MNIST files"):
        read(tmp_path)
