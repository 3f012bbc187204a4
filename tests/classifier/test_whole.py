"""A run's own answers to its val and test splits are the ones that its classifier gives, loaded elsewhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits

import trainwell as tw
from trainwell.classifier import load
from trainwell.data.samples import Scale
from trainwell.errors import DataInvalid
from trainwell.train.reporter import Silence


def test_the_digits_as_scikit_learn_gives_them_are_answered_as_the_run_answered_them(tmp_path: Path) -> None:
    run = tw.fit(
        "digits", model="logistic", epochs=2, augmentation=[], out=tmp_path / "run", reporter=Silence(),
        set={"machine.threads": 1},
    )  # fmt: skip
    with safe_open(run.path / "predictions.safetensors", "np") as stored:
        rows = [int(name.removeprefix("row ")) for name in json.loads(stored.metadata()["test_names"])]
        want, targets = stored.get_tensor("test/probabilities"), stored.get_tensor("test/targets")
    digits = load_digits()
    got = load(run.path).predict(digits.images[rows])
    np.testing.assert_allclose(got.probabilities, want, atol=1e-4)
    assert (got.indices == digits.target[rows]).mean() == (want.argmax(1) == targets).mean() > 0.7
    with pytest.raises(DataInvalid, match=r"takes numbers from 0 to 16"):
        load(run.path).predict(digits.images[rows] * 255 / 16)
    assert tw.evaluate(run.path, "digits").metrics.accuracy.value > 0.7


def test_images_of_floats_to_255_are_answered_one_by_one_as_together(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.uniform(0, 2, (40, 6, 6)), draw.uniform(200, 255, (40, 6, 6))]).astype(np.float32)
    run = tw.fit(
        (x, np.repeat(["dark", "light"], 40)), model="logistic", optimizer="adamw:lr=0.05", epochs=5, augmentation=[],
        out=tmp_path / "run", reporter=Silence(), set={"machine.threads": 1},
    )  # fmt: skip
    clf = load(run.path)
    assert clf.contract.scale == Scale(1, is_float=True)
    assert clf.predict(np.full((6, 6), 0.9)).labels == ["dark"]
    together = clf.predict(x).probabilities
    for row in (0, 20, 60):
        np.testing.assert_allclose(clf.predict(x[row]).probabilities, together[row : row + 1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["standardize", "batch_norm"])
def test_a_moved_classifier_answers_for_the_files_as_the_run_did(tmp_path: Path, preprocessing: str) -> None:
    draw = np.random.default_rng(0)
    for place, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(30):
            pixels = draw.integers(90 * place, 150 + 90 * place, (14 + number % 5, 17, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    run = tw.fit(
        str(tmp_path / "data"), model="convnet:width=8", preprocessing=preprocessing, epochs=2, seed=0, image_size=12,
        out=tmp_path / "run", reporter=Silence(), set={"machine.threads": 1, "machine.precision": "float32"},
    )  # fmt: skip
    shutil.move(run.path / "classifier", tmp_path / "deployed")
    clf = load(tmp_path / "deployed")
    with safe_open(run.path / "predictions.safetensors", "np") as stored:
        for split in ("val", "test"):
            names = json.loads(stored.metadata()[f"{split}_names"])
            got = clf.predict([tmp_path / "data" / name for name in names])
            np.testing.assert_allclose(got.probabilities, stored.get_tensor(f"{split}/probabilities"), atol=1e-4)
