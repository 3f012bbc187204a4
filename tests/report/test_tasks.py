"""Pages of runs that answer numbers and labels: their own sections, and no empty box of another task."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainwell.report.evidence import gather
from trainwell.report.page import render
from trainwell.report.regression import quality_of_numbers

GENERATOR = np.random.default_rng(0)
OF_CLASSES = (
    "What is taken for what",
    "Is it right as often",
    "Share answered and share right over the threshold",
    "Possibly wrong labels",
    "Samples per class",
)


def page(made: Any, task: str, names: list[str], tensors: dict[str, np.ndarray], data: dict[str, Any]) -> str:
    """Return the page of a finished run of another task."""
    folder = made.folder
    plain = json.loads(folder.data.read_text()) | {"task": task, "classes": names, **data}
    folder.write_json(folder.data, plain)
    save_file(tensors, folder.predictions, metadata={"step": "60"})
    return render(folder)


@pytest.fixture
def finished_features(writer: Callable[..., Any]) -> Any:
    return writer(kind="features").begin().learn().finish()


def test_a_page_of_numbers_has_scatter_and_residuals_and_nothing_of_classes(finished_features: Any) -> None:
    truth = GENERATOR.normal(3e5, 1e5, size=(40, 1))
    tensors = {f"{split}/targets": truth for split in ("val", "test")}
    tensors |= {f"{split}/numbers": truth + GENERATOR.normal(0, 1e4, size=(40, 1)) for split in ("val", "test")}
    numbers = [{"name": "price", "low": 1.0, "median": 2.0, "high": 3.0}]
    text = page(finished_features, "numbers", ["price"], tensors, {"counts": {}, "numbers": numbers, "columns": ["a"]})
    for words in (
        "is R², the explained share of the variance of price",
        "price: predicted against right",
        "RMSE",
        "MAE",
    ):
        assert words in text, words
    assert "price: how far off" in text
    assert "answers[0].numbers" in text
    assert "TABLE.csv" in text
    assert [words for words in OF_CLASSES if words in text] == []


def test_a_page_of_labels_has_a_table_of_labels_and_nothing_of_classes(finished_features: Any) -> None:
    truth = GENERATOR.integers(0, 2, size=(40, 2))
    probabilities = np.clip(0.7 * truth + 0.3 * GENERATOR.random((40, 2)), 0, 1).astype(np.float32)
    tensors = {f"{split}/targets": truth for split in ("val", "test")}
    tensors |= {f"{split}/probabilities": probabilities for split in ("val", "test")}
    counts = {"train": {"sun": 20, "rain": 9}}
    text = page(finished_features, "labels", ["sun", "rain"], tensors, {"counts": counts})
    for words in (
        "have every label right",
        "Each label",
        "Micro F1",
        "Hamming loss",
        "Samples per label",
        "How sure it is",
    ):
        assert words in text, words
    assert "answers[0].labels" in text
    assert [words for words in OF_CLASSES if words in text] == []


def test_of_many_numbers_the_worst_explained_are_drawn(finished_features: Any) -> None:
    truth = GENERATOR.normal(size=(40, 6))
    noise = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7])
    tensors = {"val/targets": truth, "val/numbers": truth + noise * GENERATOR.normal(size=(40, 6))}
    page(finished_features, "numbers", list("abcdef"), tensors, {"counts": {}, "numbers": []})
    found = quality_of_numbers(gather(finished_features.folder))
    assert found is not None
    assert len(found.charts) == 8
    assert sorted(chart.title[0] for chart in found.charts[:6:2]) == ["b", "d", "f"]
    assert found.totals[0][3].startswith("mean over the numbers")
    assert any("2 more are not" in note for note in found.notes)


def test_numbers_that_are_none_are_named_and_left_out(finished_features: Any) -> None:
    tensors = {"test/numbers": np.full((4, 1), np.nan), "test/targets": np.zeros((4, 1))}
    text = page(finished_features, "numbers", ["price"], tensors, {"counts": {}, "numbers": []})
    assert "predicted numbers must be finite" in text
    assert "How good is it?" not in text


def test_a_folder_is_read_that_was_written_before_there_were_tasks(finished: Any, tmp_path: Path) -> None:
    plain = json.loads(finished.folder.data.read_text())
    plain.pop("task", None)
    finished.folder.write_json(finished.folder.data, plain)
    assert "What is taken for what" in render(finished.folder)
