"""Curvature, stable rate and steps of a fitted line, against autograd and bowls that are known in closed form."""

import math

import numpy as np
import pytest
import torch

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.scaling_of_inputs import (
    ARMS,
    descend,
    draw_inputs,
    judge,
    largest_stable_rate,
    measure,
    predicted_steps,
)

BOWL = np.array([[2.0, 0.0], [0.0, 1.0]]) * math.sqrt(2)  # two samples: H = diag(4, 1)


def test_descent_takes_the_steps_of_autograd() -> None:
    inputs = draw_inputs({"features": 1, "shift": 2.0}, 0)
    targets = inputs @ np.array([1.5, -0.5])
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    path = descend(inputs, targets, np.zeros(2), 0.1, steps=5)
    for step in range(5):
        np.testing.assert_allclose(path[step], weight.detach(), atol=1e-12)
        optimizer.zero_grad()
        (torch.nn.functional.mse_loss(torch.from_numpy(inputs) @ weight, torch.from_numpy(targets)) / 2).backward()
        optimizer.step()


def test_the_largest_stable_rate_of_a_known_bowl_is_two_over_its_curvature() -> None:
    true = np.array([1.0, 1.0])
    found = largest_stable_rate(BOWL, BOWL @ true, true + 1, true)
    assert found == pytest.approx(2 / 4, rel=1e-3)


@pytest.mark.parametrize(("condition", "steps"), [(1.0, 1), (3.0, 10), (1001.0, 3458)])
def test_the_predicted_steps_follow_from_the_condition_number(condition: float, steps: int) -> None:
    assert predicted_steps(condition) == steps
    ratio = (condition - 1) / (condition + 1)
    assert ratio**steps <= 1e-3 * (1 + 1e-9)
    assert steps == 1 or ratio ** (steps - 1) > 1e-3


def test_points_far_from_the_origin_have_the_condition_number_of_the_closed_form() -> None:
    inputs = draw_inputs(ARMS["line, points far away"], 0)
    mean, variance = inputs[:, 0].mean(), inputs[:, 0].var()
    half, det = (mean**2 + variance + 1) / 2, variance  # of [[m^2 + v, m], [m, 1]]
    root = math.sqrt(half**2 - det)
    values = measure(ARMS["line, points far away"], 0, True)
    assert values["condition number"] == pytest.approx((half + root) / (half - root), rel=1e-9)
    assert values["2 / largest curvature"] == pytest.approx(2 / (half + root), rel=1e-9)


def test_preprocessing_is_the_library_s_own_and_makes_its_bowl_round() -> None:
    whitened = draw_inputs(ARMS["plane, correlated, whitened"], 0)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(2), atol=1e-9)
    scaled = draw_inputs(ARMS["plane, scales 1 and 10, standardized"], 0)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-9)


def test_a_rate_that_is_off_is_judged_so() -> None:
    experiment = experiments.build("scaling_of_inputs")
    row = {"condition number": 1.0, "2 / largest curvature": 2.0, "largest stable rate": 2.1, "predicted steps": 5.0}
    table = Table({arm: [row | {"steps": 9.0}] for arm in experiment.arms})
    assert [check.holds for check in judge(table)] == [False] * 16 + [True] * 3
