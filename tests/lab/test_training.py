"""Training runs for experiments: the product's own numbers, each run trained once."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainwell as tw
from trainwell.errors import OptionInvalid, RecipeInvalid
from trainwell.lab import training
from trainwell.lab.training import FIXED, train
from trainwell.train.reporter import Silence

SOURCE = "points:kind=moons,samples=200"
WORDS: dict[str, Any] = {"model": "mlp:hidden=[8]", "epochs": 2}


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was really trained."""
    trained: list[Any] = []
    real = training.execute
    monkeypatch.setattr(training, "execute", lambda *w, **k: trained.append(w) or real(*w, **k))
    return trained


def test_a_run_is_what_fit_would_have_trained(tmp_path: Path) -> None:
    ours = train(SOURCE, seed=3, **WORDS)
    theirs = tw.fit(SOURCE, out=tmp_path / "run", seed=3, reporter=Silence(), set=dict(FIXED), **WORDS)
    assert ours.recipe_id == theirs.recipe.id
    assert (ours.val_accuracy, ours.test_accuracy) == (theirs.val_accuracy, theirs.test_accuracy)
    losses = [reading.value for reading in theirs.readings if reading.name == "train/loss"]
    assert ours.curve("train/loss").tolist() == losses
    assert len(ours.steps_of("train/loss")) == ours.steps == len(losses)
    assert ours.diverged == ""


def test_the_second_call_reads_the_first(count: list[Any]) -> None:
    first, second = train(SOURCE, seed=0, **WORDS), train(SOURCE, seed=0, **WORDS)
    assert len(count) == 1
    assert first == second
    assert train(SOURCE, seed=1, **WORDS).recipe_id != first.recipe_id
    assert train(SOURCE, seed=0, **{**WORDS, "optimizer.lr": 0.02}).recipe_id != first.recipe_id
    assert len(count) == 3


def test_a_damaged_run_is_trained_again(count: list[Any], cache: Path) -> None:
    first = train(SOURCE, seed=0, **WORDS)
    (path,) = (cache / "runs").glob("*.json")
    path.write_bytes(path.read_bytes()[:-20])
    second = train(SOURCE, seed=0, **WORDS)
    assert len(count) == 2
    assert second.curves == first.curves
    assert [entry.name for entry in (cache / "runs").iterdir()] == [path.name], "nothing else is left behind"


def test_samples_are_known_by_their_content(count: list[Any]) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 2)).astype(np.float32), np.arange(60) % 2
    parts = {"train": (x[:40], y[:40]), "test": (x[40:], y[40:])}
    first = train(parts, seed=0, **WORDS)
    as_tensors = {split: tuple(map(torch.from_numpy, part)) for split, part in parts.items()}
    assert train(as_tensors, seed=0, **WORDS) == first
    assert len(count) == 1
    changed = {**parts, "test": (x[40:] + 1, y[40:])}
    assert train(changed, seed=0, **WORDS).membership != first.membership
    assert len(count) == 2


def test_a_run_that_diverges_is_a_result(count: list[Any]) -> None:
    found = train(SOURCE, seed=0, optimizer="sgd:lr=1e30", **WORDS)
    assert found.diverged.startswith("NaN or Inf appeared at step ")
    assert "the learning rate is too high" in found.diverged
    assert math.isnan(found.test_accuracy)
    assert len(found.curve("val/accuracy")) == 0
    assert train(SOURCE, seed=0, optimizer="sgd:lr=1e30", **WORDS).diverged == found.diverged
    assert len(count) == 1


def test_the_process_is_left_as_it_was() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    train(SOURCE, seed=0, **WORDS)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), state)


def test_wrong_words_are_met_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="a recipe has no field 'epoch': did you mean 'epochs'"):
        train(SOURCE, seed=0, epoch=3)
    with pytest.raises(RecipeInvalid, match="there is no field 'lrr'"):
        train(SOURCE, seed=0, **{"optimizer.deep.lrr": 3, "batch.lrr": 1})
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(OptionInvalid, match="an experiment cannot know what changes in"):
        train(str(tmp_path), seed=0)
    with pytest.raises(OptionInvalid, match="the run measured no 'val/acuracy': did you mean 'val/accuracy'"):
        train(SOURCE, seed=0, **WORDS).curve("val/acuracy")
