"""The temperature that makes confidences honest: against scipy, against a known answer, and at the edges."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from trainwell.metrics import at_temperature, calibration, temperature


def drawn(count: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are off by a known temperature, with targets drawn from the honest ones."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(count, 5)) * 2
    honest = softmax(logits, axis=1)
    targets = np.array([chance.choice(5, p=row) for row in honest])
    return softmax(logits * scale, axis=1), targets


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_it_finds_the_factor_by_which_the_scores_are_off(scale: float) -> None:
    probabilities, targets = drawn(20_000, scale)
    assert temperature(probabilities, targets) == pytest.approx(scale, rel=0.05)


def test_it_is_the_minimum_that_scipy_finds() -> None:
    probabilities, targets = drawn(300, 2.5)
    count = len(targets)
    rare = 1 / (count + 2)
    wanted = np.full(probabilities.shape, rare / 4)
    wanted[np.arange(count), targets] = 1 - rare
    logs = np.log(probabilities)
    found = minimize_scalar(
        lambda t: -(wanted * log_softmax(logs / t, axis=1)).sum(), bounds=(0.05, 20), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert temperature(probabilities, targets) == pytest.approx(found.x, rel=1e-6)


def test_no_answer_changes_and_the_calibration_error_falls() -> None:
    probabilities, targets = drawn(4_000, 3.0)
    after = at_temperature(probabilities, temperature(probabilities, targets))
    assert (after.argmax(1) == probabilities.argmax(1)).all()
    np.testing.assert_allclose(after.sum(1), 1, atol=1e-6)
    assert calibration(after, targets).error < calibration(probabilities, targets).error / 3


def test_without_a_mistake_it_does_not_become_certain() -> None:
    probabilities = np.full((100, 2), 0.2)
    probabilities[:, 0] = 0.8
    after = at_temperature(probabilities, temperature(probabilities, np.zeros(100, dtype=np.int64)))
    assert after[0, 0] == pytest.approx(1 - 1 / 102, abs=1e-6)


def test_probabilities_of_zero_stay_finite() -> None:
    found = temperature([[1.0, 0.0], [0.0, 1.0]], [0, 0])
    assert np.isfinite(at_temperature([[1.0, 0.0]], found)).all()
