"""The formulas of the variance against integrals over the chi-square law, and the judgement of rates that work."""

import math

import pytest
import torch
from scipy import stats

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.radam_without_warmup import (
    ARMS,
    PLAIN,
    RECTIFIED,
    VARIANCE,
    WARMED,
    RowsTransformer,
    closed_form,
    first_order,
    judge,
    measure,
    share_of_rate,
)


@pytest.mark.parametrize("length", [3.0, 5.0, 9.98, 50.0, 1999.0])
def test_the_closed_form_is_the_variance_over_the_chi_square_law(length: float) -> None:
    law = stats.chi2(length)
    first = law.expect(lambda square: math.sqrt(length / square), lb=1e-12)
    second = law.expect(lambda square: length / square, lb=1e-12)
    assert closed_form(length) == pytest.approx(second - first**2, rel=1e-4)


def test_the_first_order_formula_is_the_delta_method() -> None:
    """Var sqrt(z) ~ Var z / (4 E z), z the scaled inverse chi-square, whose mean and variance scipy knows."""
    length = 30.0
    law = stats.invgamma(length / 2, scale=length / 2)
    assert first_order(length) == pytest.approx(law.var() / (4 * law.mean()), rel=1e-12)


def test_the_simulation_meets_the_formula() -> None:
    found = measure(ARMS[VARIANCE], 0, True)
    assert found["variance"][0] == pytest.approx(closed_form(9.983492), rel=0.05)  # type: ignore[index]


def test_the_rate_rises_and_falls_along_lines() -> None:
    share = share_of_rate(100, 25)
    assert share(0) == pytest.approx(1 / 25)
    assert share(24) == pytest.approx(1 - 24 / 100)
    assert share(99) == pytest.approx(0.01)
    assert share_of_rate(100, 0)(0) == 1


def test_the_transformer_normalizes_behind_each_sum() -> None:
    torch.manual_seed(0)
    network = RowsTransformer()
    tokens = network.body(torch.randn(3, 8, 32))
    assert tokens.mean(dim=2).abs().max() < 1e-6
    torch.testing.assert_close(tokens.var(dim=2, correction=0), torch.ones(3, 8), rtol=0, atol=1e-3)
    assert network(torch.randn(3, 1, 8, 8)).shape == (3, 10)


def test_rates_that_work_are_compared() -> None:
    exact = [closed_form(float(length)) for length in (10, 100, 1000)]
    curves = {"variance": exact, "closed form": exact, "first order": exact, "rectified": [1.0, 1.1, 1.2]}
    variance: Values = {"step": [10.0, 100.0, 1000.0], **curves}

    def holds(plain: list[float], warmed: list[float], rectified: list[float]) -> list[bool]:
        found = {PLAIN: plain, WARMED: warmed, RECTIFIED: rectified}
        arms = {arm: [{"rate": [0.01, 0.1], "accuracy": row}] * 2 for arm, row in found.items()}
        return [check.holds for check in judge(Table({VARIANCE: [variance] * 2, **arms}))]

    assert holds([0.9, 0.1], [0.95, 0.9], [0.9, 0.94]) == [True] * 6
    assert holds([0.9, 0.85], [0.95, 0.9], [0.9, 0.94])[3:] == [False, True, True]
    assert holds([0.9, 0.1], [0.95, 0.9], [0.9, 0.1])[3:] == [True, False, False]
