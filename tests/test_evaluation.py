"""Evaluation on any labelled source: the run's own numbers again, and everything a reader must know beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch.utils.data import Dataset

import trainwell as tw
from trainwell.errors import DataInvalid, FilesInvalid, OptionInvalid, RunDamaged, RunInvalid, ShapeError, UserError
from trainwell.metrics import measure
from trainwell.train.reporter import Silence

Fit = Callable[..., tw.Run]
CLASSES = ("cat", "dog", "fox")
X = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
Y = np.array(CLASSES)[X[:, :3].argmax(1)]
SPLIT = {"train": (X[:50], Y[:50]), "val": (X[50:65], Y[50:65]), "test": (X[65:], Y[65:])}
PIXELS = np.random.default_rng(1).integers(0, 256, (60, 6, 6, 3)).astype(np.uint8)


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train a small network for two epochs: `fit(source)`."""

    def train(source: object = None, **words: Any) -> tw.Run:
        words = {"model": "mlp:hidden=[8]", "epochs": 2, "augmentation": [], **words}
        source = SPLIT if source is None else source
        return tw.fit(source, out=tmp_path / "run", set={"machine.threads": 1}, reporter=Silence(), **words)

    return train


def stored(run: tw.Run, name: str) -> np.ndarray:
    with safe_open(run.path / "predictions.safetensors", "np") as file:
        array: np.ndarray = file.get_tensor(name)
        return array


def write_photos(folder: Path, names: tuple[str, ...] = CLASSES) -> Path:
    for number, pixels in enumerate(PIXELS):
        place = folder / names[number % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
    return folder


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_source_of_a_run_gives_the_numbers_of_the_run(fit: Fit, split: Any) -> None:
    run = fit()
    found = tw.evaluate(run.path, SPLIT, split=split)
    order = np.argsort(found.predictions.probabilities[:, 0])
    expected = np.argsort(stored(run, f"{split}/probabilities")[:, 0])
    np.testing.assert_allclose(
        found.predictions.probabilities[order], stored(run, f"{split}/probabilities")[expected], atol=1e-5
    )
    np.testing.assert_array_equal(found.targets[order], stored(run, f"{split}/targets")[expected])
    reported = run.val if split == "val" else run.test
    assert reported is not None
    assert found.metrics.accuracy.value == reported.accuracy
    assert found.metrics.count == reported.count


def test_of_a_source_with_splits_the_test_split_is_taken_and_that_is_said(fit: Fit) -> None:
    run = fit()
    found = tw.evaluate(run.path, SPLIT)
    assert found.notes == ("measured on its test split, 25 of 90 samples",)
    assert repr(found) == f"Evaluated(accuracy={found.metrics.accuracy}, count=25)"
    assert "<table>" in found._repr_html_()


def test_all_of_a_source_is_measured_with_a_warning_about_what_it_was_trained_on(fit: Fit) -> None:
    run = fit()
    found = tw.evaluate(run.path, SPLIT, split="all")
    assert found.metrics.count == 90
    trained, chosen = found.notes
    assert trained.startswith("50 of these 90 samples were in the training split of this run")
    assert trained.endswith("so the numbers are too good")
    assert chosen.startswith(
        "15 of these 90 samples were in the val split of this run, by which its confidences were set"
    )
    assert chosen.endswith("the numbers are a little too good")
    assert tw.evaluate(run.path / "classifier", SPLIT, split="train").notes[0].startswith("50 of these 50 samples")


def test_samples_are_known_by_their_content_not_by_their_place(fit: Fit) -> None:
    run = fit()
    mixed = np.concatenate([X[70:73], X[10:12][::-1]])
    found = tw.evaluate(run.path, (mixed, np.array(["cat", "dog", "fox", "cat", "dog"])))
    assert found.notes[0].startswith("2 of these 5 samples were in the training split")


def test_a_classifier_far_from_its_run_cannot_know_what_it_was_trained_on(fit: Fit, tmp_path: Path) -> None:
    run = fit()
    shutil.copytree(run.path / "classifier", tmp_path / "elsewhere" / "classifier")
    assert tw.evaluate(tmp_path / "elsewhere" / "classifier", SPLIT, split="all").notes == ()


def test_classes_are_found_by_name_in_whatever_order_the_source_has_them(fit: Fit) -> None:
    run = fit()
    some = np.isin(Y, ["fox", "dog"])
    found = tw.evaluate(run.path, (X[some], Y[some]))
    np.testing.assert_array_equal(found.targets, [CLASSES.index(name) for name in Y[some]])
    probabilities = tw.load(run.path).predict(X[some]).probabilities
    assert found.metrics.accuracy == measure(probabilities, found.targets, CLASSES).accuracy


def test_classes_without_samples_are_named(fit: Fit) -> None:
    run = fit()
    some = np.flatnonzero(Y == "fox")
    found = tw.evaluate(run.path, (X[some], np.full(len(some), "fox")))
    assert "there are no samples of cat, dog" in found.notes
    assert found.metrics.balanced_accuracy.value == found.metrics.accuracy.value
    assert any("2 classes have no sample here" in note for note in found.metrics.notes)


def test_classes_that_the_classifier_does_not_know_are_named_with_those_it_knows(fit: Fit) -> None:
    run = fit()
    with pytest.raises(DataInvalid) as caught:
        tw.evaluate(run.path, (X[:4], np.array(["cat", "dgo", "wolf", "wolf"])))
    assert str(caught.value) == (
        "the source has samples of 2 classes that this classifier does not know: dgo, wolf: did you mean 'dog'?"
        " It knows cat, dog, fox: rename or leave out the others"
    )
    with pytest.raises(
        DataInvalid, match="samples of 1 class that this classifier does not know: wolf\\. It knows cat, dog"
    ):
        tw.evaluate(run.path, (X[:2], np.array(["cat", "wolf"])))


@pytest.mark.parametrize(
    ("source", "split", "words"),
    [
        (SPLIT, "tset", "split must be one of auto, all, train, val, test, got 'tset'"),
        ({"train": SPLIT["train"], "test": SPLIT["test"]}, "val", "the source has no val split: it has train, test"),
        ((X, Y), "test", "the source has no test split: it has no splits of its own; take another part, or all of it"),
        ("digitz", "auto", "there is no file, folder or built-in source called 'digitz'"),
        (7, "auto", "the data are a int"),
    ],
    ids=["word", "split", "no splits", "name", "type"],
)
def test_a_source_or_split_that_is_not_there_is_refused_in_words(
    fit: Fit, source: object, split: Any, words: str
) -> None:
    run = fit()
    with pytest.raises((DataInvalid, OptionInvalid)) as caught:
        tw.evaluate(run.path, source, split=split)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "source", [(PIXELS, np.arange(60) % 3), (X[:, :3], Y), (X[:5] * np.nan, Y[:5])], ids=["images", "fewer", "nan"]
)
def test_samples_of_another_kind_are_refused(fit: Fit, source: object) -> None:
    run = fit()
    if isinstance(source, tuple) and len(source[0]) == 60:
        source = source[0], np.array(CLASSES)[source[1]]
    with pytest.raises((ShapeError, DataInvalid)):
        tw.evaluate(run.path, source)


def test_files_are_decoded_as_in_training(fit: Fit, tmp_path: Path) -> None:
    run = fit(write_photos(tmp_path / "photos"))
    found = tw.evaluate(run.path, tmp_path / "photos")
    assert run.test is not None
    assert run.val is not None
    trained = 60 - run.test.count - run.val.count
    assert found.notes[-2].startswith(f"{trained} of these 60 samples were in the training split of this run")
    assert found.notes[-1].startswith(f"{run.val.count} of these 60 samples were in the val split of this run")
    by_name = dict(zip(found.predictions.names, found.predictions.probabilities, strict=True))
    with safe_open(run.path / "predictions.safetensors", "np") as file:
        names = json.loads(file.metadata()["test_names"])
    ours = np.stack([by_name[str(tmp_path / "photos" / name)] for name in names])
    np.testing.assert_allclose(ours, stored(run, "test/probabilities"), atol=1e-5)


def test_all_files_that_cannot_be_used_are_named_at_once(fit: Fit, tmp_path: Path) -> None:
    run = fit(write_photos(tmp_path / "photos"))
    other = write_photos(tmp_path / "other")
    (other / "cat" / "00.png").write_bytes(b"no image")
    (other / "dog" / "01.png").write_bytes(b"")
    with pytest.raises(FilesInvalid) as caught:
        tw.evaluate(run.path, other)
    assert len(caught.value.files) == 2
    assert "00.png" in str(caught.value)
    assert "01.png" in str(caught.value)


def test_an_empty_folder_is_refused(fit: Fit, tmp_path: Path) -> None:
    run = fit()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataInvalid, match="empty"):
        tw.evaluate(run.path, tmp_path / "empty")


class Noisy(Dataset[tuple[torch.Tensor, int]]):
    """Features with noise that is drawn anew each time, so that they stream."""

    def __init__(self, count: int = 90) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row == 90:
            raise OSError("the disk is gone")
        return torch.from_numpy(X[row % 90]) + 0.01 * torch.randn(4), int(X[row % 90, :3].argmax())


def test_a_dataset_that_streams_is_measured_in_pieces_the_same_each_time(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit((X, X[:, :3].argmax(1)))
    monkeypatch.setattr("trainwell.evaluation.STREAMED_AT_ONCE", 32)
    torch.manual_seed(0)
    found = tw.evaluate(run.path, Noisy())
    torch.manual_seed(1)
    again = tw.evaluate(run.path, Noisy())
    np.testing.assert_array_equal(found.predictions.probabilities, again.predictions.probabilities)
    exact = tw.load(run.path).predict(X).probabilities
    assert not np.array_equal(found.predictions.probabilities, exact)
    np.testing.assert_allclose(found.predictions.probabilities, exact, atol=0.1)
    np.testing.assert_array_equal(found.targets, X[:, :3].argmax(1))
    assert any("stream" in note for note in found.notes), found.notes


def test_a_run_on_a_dataset_that_streams_can_be_evaluated(fit: Fit) -> None:
    run = fit(Noisy())
    assert tw.evaluate(run.path, Noisy()).metrics.count == 90


def test_of_a_dataset_that_streams_a_split_is_taken_too(fit: Fit) -> None:
    run = fit((X, X[:, :3].argmax(1)))
    found = tw.evaluate(run.path, {"train": Noisy(), "test": Noisy(30)})
    assert found.metrics.count == 30
    assert found.notes[0] == "measured on its test split, 30 of 120 samples"
    np.testing.assert_array_equal(found.targets, X[:30, :3].argmax(1))


def test_a_dataset_that_fails_names_the_row(fit: Fit) -> None:
    run = fit((X, X[:, :3].argmax(1)))
    with pytest.raises(DataInvalid, match="index 90.*the disk is gone"):
        tw.evaluate(run.path, Noisy(91))


def test_a_run_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="nowhere does not exist"):
        tw.evaluate(tmp_path / "nowhere", (X, Y))
    (tmp_path / "recipe.yaml").write_text("seed: 1")
    with pytest.raises(RunInvalid, match="trainwell resume"):
        tw.evaluate(tmp_path, (X, Y))


def test_damaged_files_are_named(fit: Fit) -> None:
    run = fit()
    (run.path / "samples.safetensors").write_bytes(b"cut")
    with pytest.raises(RunDamaged, match="samples.safetensors cannot be read: .*altered or cut short"):
        tw.evaluate(run.path, SPLIT)
    (run.path / "samples.safetensors").unlink()
    assert tw.evaluate(run.path, SPLIT).metrics.count == 25
    (run.path / "classifier" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(RunDamaged, match="weights.safetensors"):
        tw.evaluate(run.path, SPLIT)


def test_a_network_that_was_handed_over_is_asked_for(fit: Fit) -> None:
    network = torch.nn.Linear(4, 3)
    run = fit(model=network)
    with pytest.raises(UserError, match="model="):
        tw.evaluate(run.path, SPLIT)
    assert run.test is not None
    assert tw.evaluate(run.path, SPLIT, model=torch.nn.Linear(4, 3)).metrics.accuracy.value == run.test.accuracy


def test_none_is_no_source_and_does_not_mean_digits(fit: Fit) -> None:
    run = fit()
    with pytest.raises(DataInvalid, match="evaluate needs labelled samples, got None: pass a folder"):
        tw.evaluate(run.path, None)


def test_val_samples_are_known_too(fit: Fit) -> None:
    run = fit()
    (note,) = tw.evaluate(run.path, (X[48:53], Y[48:53])).notes[:1]
    assert note.startswith("2 of these 5 samples were in the training split")
    assert tw.evaluate(run.path, SPLIT, split="val").notes[0].startswith("15 of these 15 samples were in the val split")


def test_a_source_on_another_scale_than_the_training_arrays_is_measured_as_its_own_and_said(fit: Fit) -> None:
    images, labels = PIXELS[..., 0] / 255, np.array(CLASSES)[np.arange(60) % 3]
    run = fit((images, labels), model="logistic")
    same = tw.evaluate(run.path, (images, labels), split="all")
    other = tw.evaluate(run.path, (PIXELS[..., 0], labels), split="all")
    np.testing.assert_allclose(other.predictions.probabilities, same.predictions.probabilities, atol=1e-5)
    assert not [note for note in same.notes if "scale" in note and "those of training" in note]
    (note,) = [note for note in other.notes if "those of training" in note]
    assert note.startswith("the arrays of this source were read as 0 to 255, and those of training as 0 to 1: ")
