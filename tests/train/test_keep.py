"""What a run keeps to be looked at: files that a process without torch reads, whatever the data are."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import trainwell as tw
from trainwell.errors import RunInvalid
from trainwell.metrics import shown
from trainwell.train.keep import LARGEST_SIDE, balanced, for_eyes, write_tensors
from trainwell.train.reporter import Silence

Fit = Callable[..., tw.Run]
QUICK: dict[str, Any] = {"epochs": 1, "reporter": Silence()}


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train for an epoch: `fit(source, augmentation=["shift"])`."""

    def train(source: object, *, set: dict[str, Any] | None = None, **words: Any) -> tw.Run:
        return tw.fit(source, out=tmp_path / "run", set={"machine.threads": 1, **(set or {})}, **{**QUICK, **words})

    return train


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a safetensors file, and its metadata read as JSON."""
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, {name: json.loads(text) for name, text in (file.metadata() or {}).items()}


def images(count: int = 60, side: int = 8, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise of three classes, the last of them rare."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, channels)).astype(np.uint8)
    labels = np.arange(count) % 2
    labels[:6] = 2
    return pixels, labels


SMALL = {"model": "mlp:hidden=[4]", "augmentation": []}


def test_the_sheet_shows_training_images_with_their_labels_and_names(fit: Fit) -> None:
    x, y = images()
    run = fit((x, y), **SMALL)
    arrays, names = read(run.path / "samples.safetensors")
    assert arrays["sheet/images"].dtype == np.uint8
    rows = [int(name.removeprefix("row ")) for name in names["names"]]
    np.testing.assert_array_equal(arrays["sheet/images"], x[rows])
    np.testing.assert_array_equal(arrays["sheet/labels"], y[rows])
    assert "augmented/before" not in arrays


def test_the_names_of_the_sheet_are_files_below_the_folder_of_the_data(fit: Fit, tmp_path: Path) -> None:
    x, _ = images(20)
    for number, pixels in enumerate(x):
        place = tmp_path / "photos" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(place / f"{number}.png")
    run = fit(tmp_path / "photos", **SMALL)
    _, names = read(run.path / "samples.safetensors")
    assert all((tmp_path / "photos" / name).is_file() for name in names["names"])
    _, said = read(run.path / "predictions.safetensors")
    assert len(said["val_names"]) == run.val.count  # type: ignore[union-attr]
    assert all((tmp_path / "photos" / name).is_file() for name in [*said["val_names"], *said["test_names"]])


def test_augmented_versions_stand_beside_their_original(fit: Fit) -> None:
    x, y = images()
    run = fit((x, y), **{**SMALL, "augmentation": ["horizontal_flip"]})
    arrays, names = read(run.path / "samples.safetensors")
    before, after = arrays["augmented/before"], arrays["augmented/after"]
    rows = {x[int(name.removeprefix("row "))].tobytes(): name for name in names["names"]}
    labels = {int(y[int(rows[image.tobytes()].removeprefix("row "))]) for image in before}
    assert labels == {0, 1, 2}, "images of the sheet, from all classes"
    assert after.shape == (len(before), 6, 8, 8, 1)
    kinds: Counter[str] = Counter()
    for original, versions in zip(before, after, strict=True):
        for version in versions:
            is_same, is_mirrored = np.array_equal(version, original), np.array_equal(version, original[:, ::-1])
            assert is_same or is_mirrored
            kinds["mirrored" if is_mirrored else "same"] += 1
    assert min(kinds.values()) > 5


def test_looking_changes_nothing(fit: Fit, tmp_path: Path) -> None:
    """The record of a run whose samples are there already, so that they are not drawn, has the same bits."""
    words = {**SMALL, "augmentation": ["shift:pixels=1"], "epochs": 2}
    run = fit(images(), **words)
    record = (run.path / "record.jsonl").read_bytes()
    for name in ("record.jsonl", "timing.jsonl", "events.jsonl"):
        (run.path / name).unlink(missing_ok=True)
    for file in sorted((run.path / "checkpoints").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    tw.resume(run.path, data=images(), reporter=Silence())
    assert (run.path / "record.jsonl").read_bytes() == record


def test_the_digests_are_those_of_the_training_samples_sorted(fit: Fit) -> None:
    """An independent count: 8 bytes of SHA-256, of the hash over type and shape, then the row's bytes."""
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    run = fit((x, np.arange(50) % 2), model="mlp:hidden=[4]", set={"data.val_fraction": 0, "data.test_fraction": 0})
    arrays, _ = read(run.path / "samples.safetensors")
    found = arrays["train_digests"]
    heads = [hashlib.sha256(b"float32(3,)" + row.tobytes()).digest() for row in x]
    assert found.dtype == np.int64
    assert found.tolist() == sorted(int.from_bytes(head[:8], "big") - 2**63 for head in heads)
    assert "val_digests" not in arrays


def test_the_digests_of_val_lie_beside_those_of_train(fit: Fit) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = np.arange(50) % 2
    run = fit({"train": (x[:30], y[:30]), "val": (x[30:], y[30:])}, model="mlp:hidden=[4]")
    arrays, _ = read(run.path / "samples.safetensors")
    heads = [hashlib.sha256(b"float32(3,)" + row.tobytes()).digest() for row in x]
    for split, rows in (("train", heads[:30]), ("val", heads[30:])):
        expected = sorted(int.from_bytes(head[:8], "big") - 2**63 for head in rows)
        assert arrays[f"{split}_digests"].tolist() == expected


def test_two_features_are_kept_as_points_and_more_are_not(fit: Fit) -> None:
    run = fit("points:kind=moons,samples=100", model="mlp:hidden=[4]")
    arrays, _ = read(run.path / "samples.safetensors")
    assert arrays.keys() == {"train_digests", "val_digests", "points/inputs", "points/labels"}
    assert arrays["points/inputs"].shape == (70, 2)
    assert arrays["points/inputs"].dtype == np.float32
    assert set(arrays["points/labels"].tolist()) == {0, 1}


def test_the_predictions_are_those_that_the_run_reports_on(fit: Fit) -> None:
    run = fit(images(), **SMALL)
    arrays, names = read(run.path / "predictions.safetensors")
    for split, found in (("val", run.val), ("test", run.test)):
        assert found is not None
        probabilities, targets = arrays[f"{split}/probabilities"], arrays[f"{split}/targets"]
        assert probabilities.shape == (found.count, 3)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
        assert int((probabilities.argmax(1) == targets).sum()) == found.hits
        assert len(names[f"{split}_names"]) == found.count


def test_the_images_to_look_at_are_those_that_the_metrics_pick(fit: Fit) -> None:
    x, y = images()
    run = fit((x, y), **SMALL)
    arrays, names = read(run.path / "predictions.safetensors")
    places = shown(arrays["val/probabilities"], arrays["val/targets"])
    np.testing.assert_array_equal(arrays["val/shown_index"], places)
    rows = [int(names["val_names"][place].removeprefix("row ")) for place in places]
    np.testing.assert_array_equal(arrays["val/shown_images"], x[rows])


@pytest.mark.parametrize("without", ["val", "test", "both"])
def test_a_split_that_is_not_there_is_left_out(fit: Fit, without: str) -> None:
    fractions = {f"data.{split}_fraction": 0 for split in ("val", "test") if without in (split, "both")}
    run = fit(images(), **SMALL, set=fractions)
    arrays, names = read(run.path / "predictions.safetensors")
    there = {"val": {"test"}, "test": {"val"}, "both": set()}[without]
    assert {name.partition("/")[0] for name in arrays} == there
    assert {name.removesuffix("_names") for name in names if name.endswith("_names")} == there


def test_an_image_that_is_floats_or_has_many_channels_can_be_looked_at() -> None:
    floats = torch.tensor([0.0, 0.5, 1.0, -1.0]).view(1, 1, 2, 2)
    assert for_eyes(floats).flatten().tolist() == [128, 191, 255, 0]
    assert for_eyes(torch.zeros(2, 5, 4, 6, dtype=torch.uint8)).shape == (2, 4, 6, 1)
    assert for_eyes(torch.ones(1, 3, 4, 4)).max() == 0, "a constant image has no contrast to show"


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(96, 96, (96, 96)), (192, 96, (96, 48)), (10, 960, (1, 96)), (300, 2, (96, 1))]
)
def test_large_images_are_made_small_in_their_aspect(height: int, width: int, expected: tuple[int, int]) -> None:
    found = for_eyes(torch.full((2, 3, height, width), 77, dtype=torch.uint8))
    assert found.shape == (2, *expected, 3)
    assert max(found.shape[1:3]) <= LARGEST_SIDE
    assert found.unique().tolist() == [77]


def test_every_class_is_shown_as_often_as_any_other_while_it_has_samples() -> None:
    targets = torch.tensor([0] * 50 + [1] * 3 + [3] * 50)
    chosen = balanced(targets, 4, 40)
    assert torch.bincount(targets[chosen], minlength=4).tolist() == [10, 3, 0, 10]
    assert len(balanced(torch.arange(100), 100, 60)) == 60


def test_a_file_that_cannot_be_written_is_said_and_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="samples.safetensors cannot be written: .*: free some space"):
        write_tensors(tmp_path / "gone" / "samples.safetensors", {"x": torch.zeros(1)}, {})
    (tmp_path / "samples.safetensors").mkdir()
    with pytest.raises(RunInvalid, match="cannot be written"):
        write_tensors(tmp_path / "samples.safetensors", {"x": torch.zeros(1)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["samples.safetensors"]
