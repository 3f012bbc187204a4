"""Claim 12: who leaves a saddle and a plateau, against linear theory, and judgement of others."""

import math

import numpy as np
import pytest

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.leaving_saddles_and_plateaus import (
    ARMS,
    MOST,
    growth_of_momentum,
    has_left,
    judge,
    measure,
    start_of,
)


def test_the_growth_of_momentum_is_the_largest_eigenvalue_of_its_step() -> None:
    """(y, v) -> (y + v', v') with v' = 0.9 v + 0.14 * 0.1 y."""
    step = np.array([[1 + 0.014, 0.9], [0.014, 0.9]])
    assert growth_of_momentum() == pytest.approx(max(np.linalg.eigvals(step).real), rel=1e-12)


def test_starts_are_near_the_line_into_the_saddle_and_far_on_the_plateau() -> None:
    for seed in range(20):
        x, y = start_of("saddle", seed)
        assert x == -1.8
        assert 1e-4 <= y <= 1e-2
        assert math.hypot(*start_of("plateau", seed)) == pytest.approx(4)


def test_left_is_half_a_unit_from_the_saddle_and_one_from_the_minimum() -> None:
    places = np.array([[-1.8, 0.01], [0, 0.51], [0.4, -0.6], [0.9, 0.3]])
    assert has_left("saddle", places).tolist() == [False, True, True, False]
    assert has_left("plateau", places).tolist() == [False, True, True, True]


def test_gradient_descent_needs_as_long_as_its_own_rewrite() -> None:
    x, y = start_of("plateau", 1)
    steps = 0
    while math.hypot(x, y) >= 1:
        factor = 1 - 2 * 0.14 / (1 + x * x + y * y) ** 2
        x, y, steps = factor * x, factor * y, steps + 1
    found = measure({"place": "plateau", "optimizer": "gradient_descent:lr=0.14"}, 1, True)
    assert found["iterations"] == steps < MOST


def test_gradient_descent_that_leaves_is_judged_so() -> None:
    cells: dict[str, list[Values]] = {arm: [{"iterations": 500.0, "growth": 1.014}] for arm in ARMS}
    for place in ("saddle", "plateau"):
        cells[f"{place}, momentum"] = [{"iterations": 50.0, "growth": growth_of_momentum()}]
    assert all(check.holds for check in judge(Table(cells)))
    cells["plateau, gradient descent"] = [{"iterations": 100.0}]
    failing = [check.claim for check in judge(Table(cells)) if not check.holds]
    assert failing == [
        "plateau: gradient descent within 200 iterations",
        "plateau: iterations of gradient descent over those of momentum",
    ]
