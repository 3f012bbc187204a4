"""The features that a run with transfer keeps of its sheet: of which weights, and that looking changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor

import trainwell as tw
from trainwell.train import execution
from trainwell.train.reporter import Silence
from trainwell.train.run import Run

SETTINGS = {"machine.threads": 1, "data.val_fraction": 0.1, "data.test_fraction": 0.1}
WORDS: dict[str, Any] = {"set": SETTINGS, "reporter": Silence(), "augmentation": []}
Fit = Callable[..., Run]


def digits(classes: range) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 8, 8) uint8 of some digits, 12 of each, and their names."""
    pixels, labels = load_digits(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(labels == label)[:12] for label in classes])
    return (pixels[rows].reshape(-1, 8, 8) * 15.9).astype(np.uint8), np.array([f"digit {n}" for n in labels[rows]])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network that has seen digits 0 to 4."""
    words = {**WORDS, "model": "cifar_resnet:depth=8,width=4", "epochs": 1}
    return tw.fit(digits(range(5)), out=tmp_path_factory.mktemp("source") / "low", **words)


@pytest.fixture
def fit(tmp_path: Path, source: Run) -> Fit:
    """Go on to digits 5 to 9: `fit("run", transfer="full", epochs=1)`."""

    def run(name: str, **words: Any) -> Run:
        return tw.fit(digits(range(5, 10)), from_=source, out=tmp_path / name, **{**WORDS, **words})

    return run


def kept(run: Run) -> dict[str, Tensor]:
    """The features by stage."""
    return load_file(run.path / "neighbours.safetensors")


def test_the_features_are_those_of_random_weights_of_the_source_and_of_the_end(fit: Fit) -> None:
    run = fit("run", transfer="full", epochs=2)
    codes = kept(run)
    assert set(codes) == {"random", "source", "end"}
    count = len(load_file(run.path / "samples.safetensors")["sheet/images"])
    assert {tuple(each.shape) for each in codes.values()} == {(count, 16)}
    pairs = [("random", "source"), ("random", "end"), ("source", "end")]
    assert not any(torch.allclose(codes[a], codes[b]) for a, b in pairs)


def test_frozen_features_end_as_they_began(fit: Fit) -> None:
    codes = kept(fit("run", transfer="features"))
    assert torch.equal(codes["source"], codes["end"])


def test_the_features_of_the_sheet_are_those_that_the_head_is_solved_on(fit: Fit) -> None:
    """Every row of the sheet stands among the codes of the train split, with its class."""
    run = fit("run", transfer="features")
    train, sheet = load_file(run.path / "codes.safetensors"), kept(run)["end"]
    labels = load_file(run.path / "samples.safetensors")["sheet/labels"]
    distances = torch.cdist(sheet.double(), train["train/codes"].double())
    assert float(distances.min(1).values.max()) < 1e-5
    assert torch.equal(train["train/targets"][distances.argmin(1)], labels)


def test_looking_changes_no_weight(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = fit("looked", transfer="gradual", epochs=2)
    for name in ("keep_first_codes", "keep_last_codes"):
        monkeypatch.setattr(execution, name, lambda *words: None)
    blind = fit("blind", transfer="gradual", epochs=2)
    assert not (blind.path / "neighbours.safetensors").exists()
    before, after = (load_file(run.path / "classifier" / "weights.safetensors") for run in (looked, blind))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_begins_anew_keeps_none(source: Run) -> None:
    assert not (source.path / "neighbours.safetensors").exists()
