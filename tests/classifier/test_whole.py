"""A run's own answers to its val and test splits are the ones that its classifier gives, loaded elsewhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import trainwell as tw
from trainwell.classifier import load
from trainwell.train.reporter import Silence


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
