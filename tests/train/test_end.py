"""The end of a run: what is measured, in which order it is stored, and what is said when something of it fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import trainwell as tw
from trainwell.errors import Interrupted, NonFinite, RunInvalid
from trainwell.train.reporter import Silence

Train = Callable[..., tw.Run]


class Listener(Silence):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Remember."""
        self.said.append(text)


class Explosive(nn.Linear):
    """Answers Inf for one sample, which only test has, with finite weights."""

    def forward(self, inputs: Tensor) -> Tensor:
        scores = super().forward(inputs)
        return torch.where(inputs[:, :1] > 50, torch.inf, scores)


def test_infinite_scores_at_the_end_are_named_as_such_with_their_split_and_samples(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    y = np.arange(90) % 2
    x[70, 0] = 99
    data = {"train": (x[:40], y[:40]), "val": (x[40:60], y[40:60]), "test": (x[60:], y[60:])}
    with pytest.raises(NonFinite) as caught:
        tw.fit(
            data, model=Explosive(2, 2), preprocessing="none", epochs=1, out=tmp_path / "run", reporter=Silence(),
            set={"machine.threads": 1},
        )  # fmt: skip
    words = str(caught.value)
    assert caught.value.exit_code == 3
    assert words.startswith("the scores of 1 of 30 test samples are NaN or Inf after step")
    assert "all weights are finite, and are stored: row 70;" in words
    assert "softmax" not in words
    assert caught.value.report["samples"] == ["row 70"]
    assert "scores of 1 test sample are not: row 70" in tw.write_report(tmp_path / "run").read_text("utf-8")


@pytest.mark.parametrize("error", [RunInvalid("the disk is full"), ZeroDivisionError("a bug")])
def test_a_page_that_cannot_be_written_does_not_hide_the_run(
    train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first = train("run")

    def fail(path: Path) -> Path:
        raise error

    monkeypatch.setattr("trainwell.surface.write_page", fail)
    listener = Listener()
    run = tw.resume(first.path, reporter=listener)
    assert run.test == first.test
    said = listener.said[-1]
    assert "report.html is missing, since it could not be written (" in said
    assert str(error) in said
    assert said.endswith(f"the run is finished and stored: write its page with `trainwell report {run.path}`")
    assert not (run.path / "report.html").exists(), "the page of the earlier end would show other numbers"


def test_ctrl_c_while_the_page_is_written_says_that_the_run_is_finished(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(path: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainwell.surface.write_page", press)
    with pytest.raises(Interrupted, match="stopped while the page was written; the run is finished.*trainwell report"):
        train("run")


@pytest.mark.parametrize("broken", ["save_classifier", "keep_predictions"])
def test_killed_while_it_delivers_no_predictions_lie_beside_an_old_classifier(
    train: Train, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    run = train("run", set={"regularization.patience": None})

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(f"trainwell.train.execution.{broken}", die)
        with pytest.raises(RuntimeError, match="killed"):
            tw.resume(run.path, epochs=5, reporter=Silence())
    assert not (run.path / "predictions.safetensors").exists()
    assert "are made at the end of a run" in tw.write_report(run.path).read_text("utf-8")
    again = tw.resume(run.path, reporter=Silence())
    assert again.metrics is not None
    assert (again.metrics.accuracy.value, again.looks) == (again.test_accuracy, 2)


def test_the_stored_probabilities_of_a_bfloat16_run_are_those_of_its_classifier(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    split = {"train": (x[:200], y[:200]), "val": (x[200:250], y[200:250]), "test": (x[250:], y[250:])}
    run = tw.fit(
        split, model="mlp:hidden=[32]", epochs=20, out=tmp_path / "run", reporter=Silence(),
        optimizer="adamw:lr=0.02", set={"machine.threads": 1, "machine.precision": "bfloat16"},
    )  # fmt: skip
    with safe_open(run.path / "predictions.safetensors", "np") as file:
        about = file.metadata()
        for name, first in (("val", 200), ("test", 250)):
            rows = [int(row.removeprefix("row ")) for row in json.loads(about[f"{name}_names"])]
            assert min(rows) >= first
            answered = tw.load(run.path).predict(x[rows]).probabilities
            np.testing.assert_allclose(file.get_tensor(f"{name}/probabilities"), answered, atol=1e-4)


def test_resume_says_from_where_it_goes_on(train: Train, tmp_path: Path) -> None:
    class Stop:
        """Dies in one step."""

        def after_step(self, state: Any) -> None:
            """Die."""
            if state.step == 40:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train("run", hooks=[Stop()])
    listener = Listener()
    tw.resume(tmp_path / "run", reporter=listener)
    assert listener.said == ["going on  at step 36 of 72, epoch 3 of 4"]
    finished = Listener()
    run = tw.resume(tmp_path / "run", reporter=finished)
    assert finished.said == [
        "nothing is left to do: all 72 steps are done; what was held out is measured again, and"
        f" `trainwell resume {run.path} --epochs 8` would go further"
    ]
    assert (run.epochs, run.epochs_before, run.looks) == (4, 4, 2)
    longer = Listener()
    tw.resume(tmp_path / "run", reporter=longer, epochs=6)
    assert longer.said[0] == "going on  at step 72 of 108, epoch 5 of 6"
