"""Batch norm's identities against its written-out formulas, and widths of curves that are known."""

import numpy as np
import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.weight_scale import ARMS, DOUBLE, NORMED, PLAIN, SINGLE, judge, measure, normalized
from trainwell.lab.experiments.weight_scale import width_in_decades as width

GRID = np.array([0.001, 0.01, 0.1, 1.0, 10.0])


def test_outputs_and_gradient_are_those_of_the_written_out_formulas() -> None:
    generator = np.random.default_rng(0)
    x, w, above = generator.normal(size=(9, 4)), generator.normal(size=(3, 4)), generator.normal(size=(9, 3))
    z = x @ w.T
    deviation = z.std(axis=0)
    y = (z - z.mean(axis=0)) / deviation
    back = (9 * above - above.sum(axis=0) - y * (above * y).sum(axis=0)) / (9 * deviation)
    outputs, slope = normalized(*(torch.from_numpy(array) for array in (x, w, above)))
    np.testing.assert_allclose(outputs, y, atol=1e-12)
    np.testing.assert_allclose(slope, back.T @ x, atol=1e-12)


def test_the_identities_are_missed_by_rounding_alone() -> None:
    for arm, most in ((SINGLE, 1e-5), (DOUBLE, 1e-12)):
        values = measure(ARMS[arm], 0, True)
        assert all(0 <= float(np.max(value)) <= most for value in values.values())


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.1, 0.1, 0.9, 0.1, 0.1], 0.5),  # a quarter of the way down to either side
        ([0.9, 0.9, 0.9, 0.9, 0.9], 4.0),
        ([0.9, 0.1, 0.1, 0.9, 0.95], 1 + 0.25),  # the other peak does not count
        ([0.1, 0.1, 0.1, 0.1, 0.1], 0.0),
    ],
)
def test_the_width_of_a_known_curve(accuracies: list[float], expected: float) -> None:
    assert width(GRID, np.array(accuracies), 0.7) == pytest.approx(expected)


def test_a_range_that_is_not_wider_is_judged_so() -> None:
    curve = {"deviation": GRID.tolist(), "accuracy": [0.1, 0.1, 0.9, 0.1, 0.1]}
    wide = {"deviation": GRID.tolist(), "accuracy": [0.1, 0.9, 0.9, 0.9, 0.1]}
    exact, missed = {"outputs": 0.0, "gradients": 0.0}, {"outputs": 0.0, "gradients": 1e-3}

    def holds(normed: dict[str, list[float]], single: dict[str, float]) -> list[bool]:
        cells = {PLAIN: [curve] * 2, NORMED: [normed] * 2, SINGLE: [single] * 2, DOUBLE: [exact] * 2}
        return [check.holds for check in judge(Table(cells))]

    assert holds(wide, exact) == [True] * 6
    assert holds(curve, missed) == [True, False, True, False, True, True]
