"""The data sets of experiments: found as a folder or an archive, decoded once, the same bits either way."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainwell.errors import DataInvalid
from trainwell.lab import data


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small MNIST as a folder of images: three classes, the pixels tell class and number."""
    place = tmp_path / "data"
    for split, count in (("train", 4), ("test", 2)):
        for label in range(3):
            (place / "mnist" / split / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((28, 28), 50 * label + number, dtype=np.uint8)
                Image.fromarray(pixels).save(place / "mnist" / split / str(label) / f"{number}.png")
    monkeypatch.setenv("TRAINWELL_DATA", str(place))
    data.load.cache_clear()
    yield place
    data.load.cache_clear()


def test_a_folder_is_decoded_in_one_shuffled_order(folder: Path) -> None:
    images = data.mnist()
    assert images.train.shape == (12, 1, 28, 28)
    assert images.test.shape == (6, 1, 28, 28)
    assert images.train.dtype == torch.uint8
    assert torch.equal(images.train[:, 0, 5, 5].long() // 50, images.train_labels)
    assert images.train_labels.tolist() != sorted(images.train_labels.tolist()), "the first n are a fair sample"
    assert torch.bincount(images.train_labels).tolist() == [4, 4, 4]


def test_an_archive_holds_the_same_bits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked, expected = data.fingerprint("mnist"), data.mnist()
    archived = tmp_path / "archives"
    archived.mkdir()
    with tarfile.open(archived / "mnist.tar.xz", "w:xz") as archive:
        archive.add(folder / "mnist", arcname="mnist")
    monkeypatch.setenv("TRAINWELL_DATA", str(archived))
    data.load.cache_clear()
    assert data.fingerprint("mnist") == unpacked
    assert all(torch.equal(one, other) for one, other in zip(data.mnist(), expected, strict=True))


def test_it_is_decoded_once_and_a_damaged_file_again(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data.fingerprint("mnist")
    decoded = []
    decode = data._decode
    monkeypatch.setattr(data, "_decode", lambda *words: decoded.append(words) or decode(*words))
    assert data.fingerprint("mnist") == before
    assert decoded == []
    (path,) = (cache / "data").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert data.fingerprint("mnist") == before
    assert len(decoded) == 1


def test_other_pixels_are_another_fingerprint(folder: Path) -> None:
    before = data.fingerprint("mnist")
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(folder / "mnist" / "train" / "0" / "new.png")
    assert data.fingerprint("mnist") != before


def test_a_file_that_is_no_image_is_named(folder: Path) -> None:
    (folder / "mnist" / "train" / "1" / "bad.png").write_bytes(b"not an image")
    with pytest.raises(DataInvalid, match="train/1/bad.png cannot be decoded"):
        data.fingerprint("mnist")


def test_what_is_not_there_is_said(folder: Path) -> None:
    assert data.missing(("mnist",)) == ""
    assert data.missing(("mnist", "cifar10")) == f"cifar10 is not in {folder}"
    with pytest.raises(DataInvalid, match="cifar10 is not in"):
        data.cifar10()


def test_digits_are_those_of_scikit_learn_each_once() -> None:
    from sklearn.datasets import load_digits

    images, bunch = data.digits(), load_digits()
    assert (len(images.train), len(images.test)) == (1437, 360)
    ours = torch.cat([images.train, images.test]).double().div(255 / 16).round().reshape(-1, 64)
    labels = torch.cat([images.train_labels, images.test_labels])
    rows = sorted(zip(map(tuple, ours.tolist()), labels.tolist(), strict=True))
    assert rows == sorted(zip(map(tuple, bunch["data"].tolist()), bunch["target"].tolist(), strict=True))
    assert torch.bincount(images.test_labels).min() >= 25
