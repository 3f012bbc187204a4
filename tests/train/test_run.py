"""What a run says of itself when it is done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from sklearn.metrics import accuracy_score, log_loss

import trainwell as tw
from trainwell.errors import RunDamaged, RunInvalid

Train = Callable[..., tw.Run]


def stored(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    with safe_open(path / "predictions.safetensors", "np") as file:
        return file.get_tensor(f"{split}/probabilities"), file.get_tensor(f"{split}/targets")


def no(*splits: str) -> dict[str, Any]:
    return {f"data.{split}_fraction": 0 for split in splits} | {"regularization.patience": None}


def test_the_metrics_are_those_of_the_stored_predictions_on_test(train: Train) -> None:
    run = train("run")
    assert run.metrics is not None
    probabilities, targets = stored(run.path, "test")
    assert run.metrics.accuracy.value == accuracy_score(targets, probabilities.argmax(1)) == run.test_accuracy
    assert run.metrics.log_loss.value == pytest.approx(log_loss(targets, probabilities), rel=1e-5)
    assert run.metrics.classes == run.classes


def test_without_a_test_split_the_metrics_are_on_val(train: Train) -> None:
    run = train("run", set=no("test"))
    assert run.metrics is not None
    assert run.metrics.accuracy.value == run.accuracy == run.val_accuracy


def test_where_nothing_was_held_out_there_are_no_metrics(train: Train) -> None:
    run = train("run", set=no("val", "test"))
    assert run.metrics is None
    assert run.accuracy is None
    assert str(run.path) in run._repr_html_()


def test_a_run_that_has_no_predictions_yet_has_no_metrics_and_a_damaged_file_is_named(train: Train) -> None:
    run = train("run")
    (run.path / "predictions.safetensors").write_bytes(b"cut")
    with pytest.raises(RunDamaged, match="predictions.safetensors cannot be read: .*: it was altered or cut short"):
        _ = run.metrics
    (run.path / "predictions.safetensors").unlink()
    assert run.metrics is None


def test_the_report_is_a_page_in_the_folder(train: Train) -> None:
    run = train("run")
    assert run.report() == run.path / "report.html"
    run.report().unlink()
    with pytest.raises(RunInvalid, match="run has no report.html: write it with `trainwell report .*run`"):
        run.report()


def test_a_notebook_shows_the_run_as_a_table_with_every_name_escaped(train: Train) -> None:
    run = train("a<b>")
    shown = run._repr_html_()
    assert "a&lt;b&gt;" in shown
    assert "<b>:" not in shown.replace("</b>:", "")
    assert "4 epochs" in shown
    assert "<table>" in shown
    assert "1 epoch," in replace(run, epochs=1)._repr_html_()


def test_the_metrics_are_measured_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("run")
    first = run.metrics
    monkeypatch.setattr("trainwell.train.run.measure_task", None)
    assert run.metrics is first
