"""The temperature that makes confidences honest: against scipy, against a known answer, and at the edges."""

import time

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from trainwell.errors import DataInvalid, ShapeError
from trainwell.metrics import at_temperature, calibration, temperature


def drawn(count: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are off by a known temperature, with targets drawn from the honest ones."""
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=(count, 5)) * 2
    honest = softmax(scores, axis=1)
    targets = np.array([chance.choice(5, p=row) for row in honest])
    return scores * scale, targets


def by_scipy(scores: np.ndarray, targets: np.ndarray) -> float:
    """The lowest surprise, found with scipy in plain float64."""
    count, classes = scores.shape
    rare = 1 / (count + 2)
    wanted = np.full(scores.shape, rare / (classes - 1))
    wanted[np.arange(count), targets] = 1 - rare
    wide = scores.astype(np.float64)
    found = minimize_scalar(
        lambda t: -(wanted * log_softmax(wide / t, axis=1)).sum(), bounds=(0.05, 20), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    return float(found.x)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_it_finds_the_factor_by_which_the_scores_are_off(scale: float) -> None:
    scores, targets = drawn(20_000, scale)
    assert temperature(scores, targets) == pytest.approx(scale, rel=0.05)


def test_it_is_the_minimum_that_scipy_finds() -> None:
    scores, targets = drawn(300, 2.5)
    assert temperature(scores, targets) == pytest.approx(by_scipy(scores, targets), rel=1e-4)


def test_large_gaps_between_scores_count_in_full() -> None:
    """Gaps of hundreds are 0 as float32 probabilities, of which nothing can be learned any more."""
    scores, targets = drawn(400, 100.0)
    scores = scores.astype(np.float32)
    assert softmax(scores, axis=1).min() == 0
    assert temperature(scores / 16, targets) == pytest.approx(by_scipy(scores / 16, targets), rel=1e-4)


def test_logarithms_of_probabilities_are_scores_too() -> None:
    scores, targets = drawn(300, 2.5)
    logs = log_softmax(scores, axis=1)
    assert temperature(logs, targets) == pytest.approx(temperature(scores, targets), rel=1e-9)
    np.testing.assert_allclose(at_temperature(logs, 2.0), softmax(scores / 2, axis=1), rtol=1e-6)


def test_no_answer_changes_and_the_calibration_error_falls() -> None:
    scores, targets = drawn(4_000, 3.0)
    after = at_temperature(scores, temperature(scores, targets))
    assert after.dtype == np.float32
    assert (after.argmax(1) == scores.argmax(1)).all()
    np.testing.assert_allclose(after.sum(1), 1, atol=1e-6)
    assert calibration(after, targets).error < calibration(softmax(scores, axis=1), targets).error / 3


def test_without_a_mistake_it_does_not_become_certain() -> None:
    scores = np.zeros((100, 2))
    scores[:, 0] = np.log(4)
    after = at_temperature(scores, temperature(scores, np.zeros(100, dtype=np.int64)))
    assert after[0, 0] == pytest.approx(1 - 1 / 102, abs=1e-5)


def test_scores_as_far_apart_as_floats_can_be_stay_finite() -> None:
    huge = np.array([[3e38, -3e38], [-3e38, 3e38]], dtype=np.float32)
    found = temperature(huge, [0, 0])
    assert np.isfinite(at_temperature(huge, found)).all()


@pytest.mark.slow
def test_a_thousand_classes_are_quick() -> None:
    scores = np.random.default_rng(0).normal(size=(10_000, 1_000)).astype(np.float32) * 3
    start = time.process_time()
    temperature(scores, scores.argmax(1))
    assert time.process_time() - start < 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_their_row(bad: float) -> None:
    scores = [[0.0, 1.0], [bad, 0.0]]
    with pytest.raises(DataInvalid, match="scores must be finite, but row 1 holds NaN or Inf"):
        temperature(scores, [0, 1])
    with pytest.raises(DataInvalid, match="row 1"):
        at_temperature(scores, 1.0)


def test_what_are_no_scores_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"scores must be \(N, K\).*got \(2,\)"):
        temperature([0.0, 1.0], [0, 1])
    with pytest.raises(DataInvalid, match="scores must be floats, got int64"):
        at_temperature([[0, 1]], 1.0)
    with pytest.raises(ShapeError, match=r"targets must be \(N,\) = \(1,\), got \(2,\)"):
        temperature([[0.0, 1.0]], [0, 1])
