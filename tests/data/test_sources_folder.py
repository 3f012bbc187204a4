"""The folder source: classes, the user's own splits, and everything that lies about in real folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainwell.core.shelves import sources
from trainwell.data.samples import Samples
from trainwell.errors import DataInvalid


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), level, np.uint8)).save(path)


def fill(root: Path, *names: str) -> None:
    for level, name in enumerate(names):
        picture(root / name, level)


def read(root: Path) -> Samples:
    return sources.build("folder", location=str(root))


def test_class_folders_become_classes_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, "10/a.png", "9/a.png", "9/b.JPG")
    samples = read(tmp_path)
    assert samples.classes == ("9", "10")
    assert samples.labels.tolist() == [0, 0, 1]
    assert [samples.name(row) for row in range(3)] == ["9/a.png", "9/b.JPG", "10/a.png"]
    assert set(samples.splits) == {""}
    assert samples.notes == ()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev", "Val"])
def test_the_users_own_splits_are_kept(tmp_path: Path, val: str) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{val}/cat/2.png", f"{val}/dog/2.png", "test/cat/3.png")
    samples = read(tmp_path)
    assert samples.splits.tolist() == ["train", "train", "val", "val", "test"]
    assert any("test has no images of 1 classes: dog" in note for note in samples.notes)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "bus/1.png")
    samples = read(tmp_path)
    assert samples.classes == ("bus", "train")
    assert set(samples.splits) == {""}


def test_flat_split_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(DataInvalid, match="no train folder with one sub-folder of images for each class"):
        read(tmp_path)


def test_a_lone_train_folder_is_split_by_us(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png")
    samples = read(tmp_path)
    assert set(samples.splits) == {""}
    assert "only the folder train holds classes: val and test are split from it" in samples.notes


def test_an_unlabelled_test_folder_is_left_out_and_said(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "val/dog/2.png", "test/9.png")
    samples = read(tmp_path)
    assert set(samples.splits) == {"train", "val"}
    assert any("the folder test holds no class folders, so its images have no label" in note for note in samples.notes)


def test_split_folders_mixed_with_class_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "val/cat/1.png", "dog/1.png")
    with pytest.raises(DataInvalid, match=r"mixes split folders \(train, val\) with other folders \(dog\)"):
        read(tmp_path)


def test_two_folders_for_val_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "val/cat/1.png", "valid/cat/1.png")
    with pytest.raises(DataInvalid, match="two folders for val: val and valid; keep one"):
        read(tmp_path)


def test_a_val_class_that_train_lacks_is_refused_with_a_guess(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/catt/2.png")
    with pytest.raises(DataInvalid, match=r"val holds class folders that train lacks: catt: did you mean 'cat'\?"):
        read(tmp_path)


def test_hidden_and_foreign_files_are_left_out_and_said(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "cat/1.png",
        "dog/1.png",
        ".ipynb_checkpoints/1.png",
        "cat/.hidden.png",
        "cat/.ipynb_checkpoints/1.png",
        "loose.png",
    )
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    samples = read(tmp_path)
    assert samples.classes == ("cat", "dog")
    assert len(samples) == 2
    said = " | ".join(samples.notes)
    assert "3 hidden files or folders were ignored: .ipynb_checkpoints, cat/.hidden.png, cat/.ipynb_checkpoints" in said
    assert "2 files are no images by their extension and were left out: readme.txt, cat/Thumbs.db" in said
    assert "1 images lie beside the class folders, belong to no class and were left out: loose.png" in said


def test_images_deeper_in_a_class_folder_count_to_it_and_are_said(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "cat/more/2.png", "dog/1.png")
    samples = read(tmp_path)
    assert samples.labels.tolist() == [0, 0, 1]
    assert "1 images lie in folders inside a class folder and count to that class: cat/more/2.png" in samples.notes


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "dog/1.png", "elsewhere.png")
    (tmp_path / "cat" / "2.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "cat" / "around").symlink_to(tmp_path / "cat")
    samples = read(tmp_path)
    assert [samples.name(row) for row in range(len(samples))] == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert any("cat/around (a link to a folder above it)" in note for note in samples.notes)


def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataInvalid, match=r"1 of 2 class folders hold no images: .*dog; fill them or remove them"):
        read(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataInvalid, match="holds no images and no class folders: make one sub-folder of images for each class"
    ):
        read(tmp_path)


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png")
    with pytest.raises(DataInvalid, match="holds 2 images that belong to no class and no class folders"):
        read(tmp_path)


def test_a_folder_around_the_class_folders_is_recognised(tmp_path: Path) -> None:
    fill(tmp_path, "photos/cat/1.png", "photos/dog/1.png")
    with pytest.raises(DataInvalid, match=r"holds one folder only, photos, .*if those are the classes, give .*photos"):
        read(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataInvalid, match="is no folder"):
        read(tmp_path / "a.png")
