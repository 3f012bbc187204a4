"""Claim 13: the averages against a recurrence in plain numbers, and judgement of others."""

import numpy as np
import pytest

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.moving_averages import ARMS, BETAS, GRADIENTS, PLAIN, averages, judge, measure


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_averages_are_those_of_the_recurrence(beta: float) -> None:
    mean, plain, corrected = 0.0, [], []
    for step, gradient in enumerate(GRADIENTS, start=1):
        mean = beta * mean + (1 - beta) * gradient
        plain.append(mean)
        corrected.append(mean / (1 - beta**step))
    assert averages(beta, GRADIENTS, correct_bias=False) == pytest.approx(plain, rel=1e-12)
    assert averages(beta, GRADIENTS, correct_bias=True) == pytest.approx(corrected, rel=1e-12)


def test_weights_by_age_are_a_geometric_sequence() -> None:
    weights = averages(0.9, [1.0, 0.0, 0.0, 0.0], correct_bias=False)
    assert weights == pytest.approx([0.1, 0.09, 0.081, 0.0729])
    found = measure(ARMS["one gradient, β = 0.9"], 0, True)
    assert found["older than the horizon"] == pytest.approx(0.9**10, abs=1e-6)
    assert found["mean age"] == pytest.approx(9, abs=1e-5)


def test_an_average_that_is_off_in_its_last_digit_is_judged_so() -> None:
    cells: dict[str, list[Values]] = {arm: [measure(settings, 0, True)] for arm, settings in ARMS.items()}
    checks = judge(Table(cells))
    assert len(checks) == 10 + len(BETAS)
    assert all(check.holds for check in checks)
    cells[PLAIN] = [{"averages": np.array([10, 19, 17.2, 25.48, 122.933]).tolist()}]
    assert [check.claim for check in judge(Table(cells)) if not check.holds] == ["average after gradient 5, 1000"]
