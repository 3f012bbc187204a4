"""Errors and R² of predicted numbers against scikit-learn's; intervals against simulated truth."""

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from trainwell.errors import DataInvalid, ShapeError
from trainwell.metrics import measure_numbers


def some(count: int, size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.normal(loc=[1e6, -3.0, 0.0][:size], scale=[100.0, 1.0, 1e-3][:size], size=(count, size))
    return truths + generator.normal(size=truths.shape) * truths.std(0) / 2, truths


@pytest.mark.parametrize(("count", "size"), [(5, 1), (60, 1), (400, 3)])
def test_every_number_is_scikit_learns(count: int, size: int) -> None:
    predicted, truths = some(count, size)
    found = measure_numbers(predicted, truths, ["a", "b", "c"][:size])
    for m, one in enumerate(found.per_number):
        ours, theirs = (predicted[:, m], truths[:, m])
        assert one.rmse.value == pytest.approx(reference.root_mean_squared_error(theirs, ours), rel=1e-12)
        assert one.mae.value == pytest.approx(reference.mean_absolute_error(theirs, ours), rel=1e-12)
        assert one.r2.value == pytest.approx(reference.r2_score(theirs, ours), abs=1e-12)
        assert all(each.low <= each.value <= each.high for each in (one.rmse, one.mae, one.r2))
    assert found.r2.value == pytest.approx(reference.r2_score(truths, predicted), abs=1e-12)
    json.dumps(found.to_plain(), allow_nan=False)


def test_nearly_all_intervals_hold_the_truth() -> None:
    """200 sets of 100 samples with RMSE 1/2 and R² 0.8; fewer than 170 of nominal 95 % has a chance below 1e-6."""
    held = {"rmse": 0, "r2": 0}
    for seed in range(200):
        generator = np.random.default_rng(seed)
        truths = generator.normal(size=100)
        found = measure_numbers(truths + generator.normal(size=100) / 2, truths, ["y"], seed=seed).per_number[0]
        held["rmse"] += found.rmse.low <= 0.5 <= found.rmse.high
        held["r2"] += found.r2.low <= 0.75 <= found.r2.high
    assert min(held.values()) >= 170, held


def test_targets_that_are_all_alike_have_no_r2_and_it_is_said() -> None:
    found = measure_numbers([[1.0, 2.0], [3.0, 4.0]], [[1.0, 7.0], [2.0, 7.0]], ["a", "b"])
    assert not found.per_number[1].r2.is_defined
    assert found.r2.value == found.per_number[0].r2.value
    assert "R² of b is undefined, because all targets here are alike" in found.notes
    assert "undefined" in str(found)


def test_the_text_names_every_number() -> None:
    predicted, truths = some(50, 2)
    lines = str(measure_numbers(predicted, truths, ["price", "area"])).splitlines()
    assert lines[0] == "on 50 samples, with 95 % intervals"
    assert [line.split()[0] for line in lines[-2:]] == ["price", "area"]
    page = measure_numbers(predicted, truths, ["<b>", "area"])._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_what_does_not_fit_is_refused_with_words() -> None:
    with pytest.raises(ShapeError, match=r"must both be \(N, 1\), one column a name, got \(2, 1\) and \(3, 1\)"):
        measure_numbers([1.0, 2.0], [1.0, 2.0, 3.0], ["y"])
    with pytest.raises(DataInvalid, match="predicted numbers must be finite, but row 1 holds NaN or Inf"):
        measure_numbers([1.0, np.nan], [1.0, 2.0], ["y"])
