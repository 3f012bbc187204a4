"""Bins, calibration error and coverage against plain loops and simulation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainwell.metrics import calibration, coverage, measure

Maker = Callable[..., Any]


def test_bins_and_error_are_those_of_a_loop_over_the_bins(answers: Maker) -> None:
    probabilities, targets = answers(700, 4, apart=1.0)
    found = calibration(probabilities, targets)
    confidences, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    error = 0.0
    for place in range(15):
        inside = (confidences > place / 15) & (confidences <= (place + 1) / 15)
        assert found.count[place] == inside.sum()
        if inside.any():
            assert found.confidence[place] == pytest.approx(confidences[inside].mean())
            assert found.accuracy[place] == pytest.approx(is_right[inside].mean())
            error += inside.mean() * abs(is_right[inside].mean() - confidences[inside].mean())
        else:
            assert np.isnan([found.confidence[place], found.accuracy[place]]).all()
    assert found.error == pytest.approx(error, abs=1e-12)
    assert measure(probabilities, targets, ["a", "b", "c", "d"]).calibration_error.value == found.error


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    found = calibration([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]], [0, 0, 0], bins=4)
    assert found.count.tolist() == [0, 1, 1, 1]


def test_chance_alone_is_what_a_perfectly_calibrated_classifier_shows() -> None:
    generator = np.random.default_rng(0)
    first = generator.uniform(0.5, 0.99, size=800)
    probabilities = np.column_stack([first, 1 - first])
    errors = [calibration(probabilities, (generator.random(800) > first).astype(int)).error for _ in range(300)]
    assert calibration(probabilities, np.zeros(800, int)).error_by_chance == pytest.approx(np.mean(errors), rel=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coverage_is_that_of_a_loop_over_the_thresholds(answers: Maker, dtype: type) -> None:
    probabilities, targets = answers(300, 3, apart=1.0)
    probabilities = np.round(probabilities, 2).astype(dtype)
    probabilities[:, 2] = 1 - probabilities[:, 0] - probabilities[:, 1]
    probabilities = np.abs(probabilities)
    found = coverage(probabilities, targets)
    assert (found.threshold[0], found.threshold[-1], found.answered[0]) == (0, 1, 1)
    confidences, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    for threshold, answered, accuracy in zip(found.threshold, found.answered, found.accuracy, strict=True):
        inside = confidences >= dtype(threshold)
        assert answered == pytest.approx(inside.mean())
        assert accuracy == pytest.approx(is_right[inside].mean()) if inside.any() else np.isnan(accuracy)
