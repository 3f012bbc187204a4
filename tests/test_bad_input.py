"""Every bad input gives one clear error that names the place and the cure, and leaves nothing behind."""

import os
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import trainwell as tw
from trainwell.errors import (
    DataInvalid,
    FilesInvalid,
    ModelInvalid,
    OptionInvalid,
    RecipeInvalid,
    RunInvalid,
    UserError,
)
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

WORDS: dict[str, Any] = {"model": "mlp:hidden=[8]", "epochs": 1, "set": {"machine.threads": 1}, "reporter": Silence()}
Refused = Callable[..., UserError]


class Listener(Silence):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Fit, and return the error: `refused(DataInvalid, source)`; everything on disk must be as it was."""

    def check(kind: type[UserError], source: object = "points:samples=100", **words: Any) -> UserError:
        before = everything_below(tmp_path)
        with pytest.raises(kind) as caught:
            tw.fit(source, **{**WORDS, "out": tmp_path / "run", **words})
        assert everything_below(tmp_path) == before
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
        return caught.value

    return check


def everything_below(folder: Path) -> dict[Path, bytes | None]:
    """Every file with its content, and every folder."""
    return {path: None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def draw(path: Path, *, side: int = 8) -> Path:
    """Write a picture of noise that is another one in every place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(str(path).encode()))
    Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def photos(folder: Path, **counts: int) -> Path:
    """Write a folder of pictures: `photos(tmp_path, cat=10, dog=10)`."""
    for name, count in counts.items():
        for number in range(count):
            draw(folder / name / f"{number}.png")
    return folder


# The source


def test_a_missing_path(refused: Refused, tmp_path: Path) -> None:
    photos(tmp_path / "photos", cat=2, dog=2)
    error = refused(DataInvalid, str(tmp_path / "fotos"))
    assert "there is no file, folder or built-in source called" in str(error)
    assert f"did you mean '{tmp_path / 'photos'}'?" in str(error)


def test_an_empty_folder(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    error = refused(DataInvalid, tmp_path / "photos")
    assert "photos holds no images and no class folders: make one sub-folder of images for each class" in str(error)


def test_one_class_only(refused: Refused, tmp_path: Path) -> None:
    error = refused(DataInvalid, photos(tmp_path / "photos", cat=10))
    assert "the data hold one class only ('cat', 10 samples): a classifier needs at least two" in str(error)


def test_a_class_with_one_image(refused: Refused, tmp_path: Path) -> None:
    error = refused(DataInvalid, photos(tmp_path / "photos", cat=10, dog=1))
    assert "each class needs at least 2 different samples" in str(error)
    assert "class 'dog' has 1 (dog/0.png)" in str(error)


# Files


def bomb() -> bytes:
    """A PNG of a few bytes whose header says 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A folder of 24 good pictures and one of each kind of bad file."""
    folder = photos(tmp_path / "photos", cat=12, dog=12)
    short = draw(folder / "cat" / "truncated.png")
    short.write_bytes(short.read_bytes()[:80])
    (folder / "cat" / "zero.jpg").write_bytes(b"")
    draw(folder / "dog" / "x.png").rename(folder / "dog" / "wrong.jpg")
    (folder / "dog" / "bomb.png").write_bytes(bomb())
    (folder / "dog" / "text.png").write_text("a letter")
    return folder


def test_bad_files_are_all_listed_at_once(refused: Refused, spoilt: Path) -> None:
    error = refused(FilesInvalid, spoilt)
    words = str(error)
    assert "5 of 29 image files" in words
    assert "cat/truncated.png is cut short" in words
    assert "cat/zero.jpg is empty (0 bytes)" in words
    assert "dog/wrong.jpg holds a PNG image, not what its ending .jpg says: rename it" in words
    assert "dog/bomb.png holds more than 89,478,485 pixels (a decompression bomb?): scale it down" in words
    assert "dog/text.png is no image" in words
    assert "Repair or remove them, or leave them out with --skip-bad (skip_bad=True)" in words


def test_skip_bad_leaves_them_out_and_names_them_in_data_json(spoilt: Path, tmp_path: Path) -> None:
    listener = Listener()
    run = tw.fit(spoilt, skip_bad=True, out=tmp_path / "run", **{**WORDS, "reporter": listener})
    text = (run.path / "data.json").read_text("utf-8")
    for name in ("truncated.png", "zero.jpg", "wrong.jpg", "bomb.png", "text.png"):
        assert name in text
    assert any("5 bad files were left out" in said for said in listener.said)
    assert not (tmp_path / "photos" / "run").exists()


def test_files_that_may_not_be_read(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "photos", cat=10, dog=10)
    secret = folder / "dog" / "3.png"
    if os.geteuid() != 0:
        secret.chmod(0)
    else:  # root may read everything, so the refusal is put into the place of the real one
        real = open

        def denied(path: Any, *rest: Any, **more: Any) -> Any:
            if Path(path) == secret:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr("trainwell.data.decode.open", denied, raising=False)
    with pytest.raises(FilesInvalid, match=r"1 of 20 image files .* dog/3\.png cannot be read \(Permission denied\)"):
        tw.fit(folder, **{**WORDS, "out": tmp_path / "run"})
    assert not (tmp_path / "run").exists()


def test_hidden_folders_are_ignored_and_said(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", cat=10, dog=10)
    photos(folder, **{".ipynb_checkpoints": 3})
    draw(folder / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
    listener = Listener()
    run = tw.fit(folder, out=tmp_path / "run", **{**WORDS, "reporter": listener})
    assert run.classes == ("cat", "dog")
    said = "2 hidden files or folders were ignored: .ipynb_checkpoints, cat/.ipynb_checkpoints"
    assert said in listener.said
    assert said in (run.path / "data.json").read_text("utf-8")


# Tables and arrays


def test_a_label_column_that_is_missing(refused: Refused, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,lable\na.png,cat\n")
    words = str(refused(DataInvalid, table))
    assert "table.csv has no label column: its columns are path, lable; name the column of labels with" in words
    words = str(refused(DataInvalid, f"{table}:label=labl"))
    assert "has no column 'labl' for the label: did you mean 'lable'?" in words


def features(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Sound samples of two classes."""
    return np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32), np.arange(count) % 2


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(60) % 2 - 1, "y must be class ids from 0, got 30 negative ones (first: row 0 is -1)"),
        (np.where(np.arange(60) == 7, np.nan, 0.0), "y holds NaN or Inf in 1 of 60 rows (first: 7)"),
        (np.where(np.arange(60) == 7, 0.5, np.arange(60) % 2), "y holds fractions in 1 of 60 rows"),
        (np.full(60, 2.5), "y is the same number in all 42 training samples, so there is nothing to learn"),
        (np.arange(59) % 2, "x holds 60 samples and y holds 59 labels"),
        (np.full((60, 3), 1 / 3), "y must be (N,) class ids or (N, K) one-hot rows"),
        (np.ones((60, 3)), "the labels 0, 1, 2 are each true of all 42 training samples or of none"),
    ],
)
def test_labels_out_of_range_or_nan(refused: Refused, labels: np.ndarray, words: str) -> None:
    assert words in str(refused(DataInvalid, (features()[0], labels)))


def test_labels_beyond_the_class_names(refused: Refused) -> None:
    inputs, labels = features()
    error = refused(DataInvalid, {"x": inputs, "y": labels + 1, "classes": np.array(["cat", "dog"])})
    assert "must be class ids in [0, 2), because 2 classes are named; got 30 outside (first: row 1 is 2)" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_inf_inputs(refused: Refused, value: float) -> None:
    inputs, labels = features()
    inputs[2, 1] = value
    words = str(refused(DataInvalid, (inputs, labels)))
    assert f"x holds 1 values that are NaN or Inf, in 1 of 60 samples; the first is {value} at index (2, 1)" in words


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros(60), "x must be (N, D) features or (N, H, W), (N, H, W, C) or (N, C, H, W) images, got shape (60,)"),
        (np.zeros((60, 2, 2, 2, 2)), "got shape (60, 2, 2, 2, 2)"),
        (np.zeros((60, 3), complex), "x must hold whole numbers or floats, got dtype complex128"),
        (np.full((60, 3), "a"), "x must hold whole numbers or floats, got dtype <U1"),
        (np.full(60, None), "x is an array of Python objects, usually because its rows differ in shape"),
    ],
)
def test_arrays_of_the_wrong_shape_or_dtype(refused: Refused, inputs: np.ndarray, words: str) -> None:
    assert words in str(refused(DataInvalid, (inputs, features()[1])))


def test_what_is_no_data_at_all(refused: Refused) -> None:
    assert "the data are a int, which cannot be read: give (x, y)" in str(refused(DataInvalid, 3))


# Names, options and recipes


def test_unknown_names_and_options_have_a_near_one(refused: Refused) -> None:
    error = refused(
        RecipeInvalid,
        model="mlpp",
        optimizer="sgd:lrr=0.1",
        schedule="cosin",
        loss="cross_entropy:smoothing=2",
        preprocessing="minmac",
    )
    assert isinstance(error, RecipeInvalid)
    assert error.faults == (
        "preprocessing: no preprocessing is called 'minmac': did you mean 'minmax'?",
        "model: no model is called 'mlpp': did you mean 'mlp'?",
        "loss: cross_entropy:smoothing must be a number >= 0 and < 1, got 2",
        "optimizer: sgd has no option 'lrr': did you mean 'lr'?",
        "schedule: no schedule is called 'cosin': did you mean 'cosine'?",
    )


def test_unknown_words_and_fields_have_a_near_one(refused: Refused) -> None:
    assert "fit has no argument 'epoch': did you mean 'epochs'?" in str(refused(OptionInvalid, epoch=3))
    error = refused(RecipeInvalid, set={"optimiser.lr": 1, "length.epoch": 3})
    assert "the recipe has 2 faults" in str(error)
    assert "optimiser.lr: there is no field 'optimiser': did you mean 'optimizer'?" in str(error)
    assert "length.epoch: there is no field 'epoch': did you mean 'epochs'?" in str(error)


def test_a_source_with_an_unknown_option(refused: Refused) -> None:
    error = refused(RecipeInvalid, "points:kinds=moons")
    assert "data.source: points has no option 'kinds': did you mean 'kind'?" in str(error)


def test_a_contradictory_recipe_has_all_its_faults_listed(refused: Refused) -> None:
    values = {"data.val_fraction": 0.6, "data.test_fraction": 0.5, "batch.size": 4, "batch.accumulate": 8}
    words = str(refused(RecipeInvalid, minutes=1, set=values))
    assert "the recipe has 3 faults" in words
    assert "epochs=1 and minutes=1.0 contradict: give one, the other follows" in words
    assert "val_fraction=0.6 and test_fraction=0.5 leave nothing to train on" in words
    assert "accumulate=8 pieces cannot be made of size=4 samples" in words


def test_a_recipe_that_is_none(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("optimizer: [1\n")
    assert "recipe.yaml is not YAML" in str(refused(RecipeInvalid, recipe=tmp_path / "recipe.yaml"))
    assert "nowhere.yaml does not exist" in str(refused(RecipeInvalid, recipe=tmp_path / "nowhere.yaml"))


def test_a_device_that_is_not_there(refused: Refused) -> None:
    error = refused(OptionInvalid, device="cuda:99")
    assert "machine.device must be one of cpu" in str(error)
    assert "got 'cuda:99'" in str(error)


def test_a_member_that_does_not_fit_the_data(refused: Refused) -> None:
    assert "needs images" in str(refused(ModelInvalid, model="convnet"))
    assert "needs images (C, H, W)" in str(refused(OptionInvalid, augmentation="horizontal_flip"))
    assert "image_size=32" in str(refused(DataInvalid, image_size=32))


# The place of the run


def test_an_output_folder_that_exists_is_untouched(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    error = refused(RunInvalid, out=tmp_path / "mine")
    assert "mine exists already and is not empty: choose another --out, or go on with `trainwell resume" in str(error)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system with given options, such as size=8k, and gives its place."""
    place = tmp_path / "disk"
    place.mkdir()
    is_mounted = False

    def mount(options: str) -> Path:
        nonlocal is_mounted
        words = f"remount,{options}" if is_mounted else options
        command = ["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system can be mounted by root only: {done.stderr.strip()}")
        is_mounted = True
        return place

    yield mount
    if is_mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", ["4k", "8k"])
def test_a_disk_that_is_full_from_the_start(small_disk: Callable[[str], Path], size: str) -> None:
    disk = small_disk(f"size={size}")
    with pytest.raises(RunInvalid, match="cannot be written: No space left on device: free some space") as caught:
        tw.fit("points:samples=100", **{**WORDS, "out": disk / "run"})
    assert caught.value.exit_code == 2
    assert list(disk.iterdir()) == []


def test_a_disk_that_fills_up_at_a_checkpoint_keeps_the_ones_before(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("size=40k")
    every_step = {"machine.threads": 1, "machine.checkpoint_seconds": 0}
    with pytest.raises(RunInvalid, match=r"the checkpoint .* cannot be written: .*No space left on device") as caught:
        tw.fit("points:samples=100", **{**WORDS, "epochs": 20, "set": every_step, "out": disk / "run"})
    assert caught.value.exit_code == 2
    assert "go on with `trainwell resume" in str(caught.value)
    assert not list((disk / "run" / "checkpoints").glob(".*")), "nothing half-written"
    small_disk("size=8m")
    resumed = tw.resume(disk / "run", reporter=Silence())
    whole = tw.fit("points:samples=100", **{**WORDS, "epochs": 20, "set": every_step, "out": disk / "whole"})
    assert (resumed.val, resumed.test) == (whole.val, whole.test)


def test_a_write_that_fails_at_a_checkpoint_keeps_the_ones_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainwell.train import checkpoint

    real, calls = checkpoint.save_tensors, []

    def full(path: Path, tensors: dict[str, Tensor]) -> None:
        calls.append(path)
        if len(calls) > 2:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        real(path, tensors)

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    every_step = {"machine.threads": 1, "machine.checkpoint_seconds": 0}
    with pytest.raises(RunInvalid, match=r"the checkpoint .* cannot be written: No space left on device: free some"):
        tw.fit("points:samples=100", **{**WORDS, "epochs": 20, "set": every_step, "out": tmp_path / "run"})
    kept = list((tmp_path / "run" / "checkpoints").iterdir())
    assert len(kept) == 2
    assert all((path / "manifest.json").is_file() for path in kept)


def test_a_place_that_may_only_be_read(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("ro")
    with pytest.raises(RunInvalid, match="run cannot be written: Read-only file system: choose another folder"):
        tw.fit("points:samples=100", **{**WORDS, "out": disk / "run"})


def test_a_place_below_a_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep me")
    error = refused(RunInvalid, out=tmp_path / "file" / "run")
    assert "cannot be written: Not a directory: choose another folder with --out" in str(error)


# The user's own code


class Breaking(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Raises at index 37 once it has been asked often enough."""

    def __init__(self, *, after: int = 0, is_random: bool = False) -> None:
        self.left, self.is_random = after, is_random

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.left -= 1
        if index == 37 and self.left < 0:
            raise OSError("the server is gone")
        sample = torch.randn(3) if self.is_random else torch.arange(3.0) + index
        return sample, index % 2


def test_a_dataset_that_raises_while_it_is_read(refused: Refused) -> None:
    error = refused(DataInvalid, Breaking())
    assert str(error) == "the dataset raised OSError at index 37: the server is gone"


def test_a_dataset_that_raises_while_it_streams_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    def start(name: str, data: Breaking) -> Run:
        return tw.fit(data, **{**WORDS, "epochs": 8, "out": tmp_path / name})

    whole = start("whole", Breaking(after=10_000, is_random=True))
    with pytest.raises(DataInvalid, match="the dataset raised OSError at index 37: the server is gone") as caught:
        start("cut", Breaking(after=400, is_random=True))
    assert caught.value.exit_code == 2
    data = Breaking(after=10_000, is_random=True)
    assert tw.resume(tmp_path / "cut", data=data, reporter=Silence()).test == whole.test


class Answers(nn.Module):
    """Answers with something odd."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.answer = nn.Linear(2, 2), answer

    def forward(self, inputs: Tensor) -> object:
        return self.answer(self.layer(inputs))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 5), r"the network must return (N, K) = (2, 2), one raw score a class"),
        (nn.Linear(7, 2), "the network cannot take inputs of shape (2, 2): mat1 and mat2 shapes cannot be multiplied"),
        (Answers(lambda scores: {"logits": scores}), "must return a tensor (N, K) of raw scores, got dict"),
        (Answers(lambda scores: scores.sum()), "the network must return (N, K) = (2, 2)"),
        (Answers(lambda scores: scores[:1]), "the network must return (N, K) = (2, 2)"),
        (nn.Flatten(), "has no weights that can be trained"),
    ],
)
def test_a_network_that_returns_the_wrong_shape(refused: Refused, model: nn.Module, words: str) -> None:
    assert words in str(refused(ModelInvalid, model=model))


def test_a_source_that_is_a_name_of_nothing(refused: Refused) -> None:
    assert "did you mean 'digits'?" in str(refused(DataInvalid, "digit"))
