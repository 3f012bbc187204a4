"""How numbers are held against printed ones: each tolerance at its own edge."""

import numpy as np
import pytest

from trainwell.lab.judging import half_digit, within_deviations, within_errors, within_log_deviations, within_share


@pytest.mark.parametrize(("printed", "half"), [("0.628", 5e-4), (".83", 5e-3), ("28", 0.5), ("7.8e-16", 5e-18)])
def test_half_a_digit_is_what_rounding_may_take(printed: str, half: float) -> None:
    assert half_digit(printed) == pytest.approx(half)


def test_a_share_is_of_the_printed_number_and_rounding_comes_on_top() -> None:
    assert within_share("", "1.0", np.array([1.079]), share=0.03).holds
    assert not within_share("", "1.0", np.array([1.081]), share=0.03).holds


def test_one_draw_may_be_so_many_deviations_off() -> None:
    numbers = np.array([1.0, 3.0])  # mean 2, deviation √2
    assert within_deviations("", "7.60", numbers).holds
    assert not within_deviations("", "7.70", numbers).holds
    logs = np.exp(numbers)
    assert within_log_deviations("", f"{np.exp(7.6):.6f}", logs).holds
    assert not within_log_deviations("", f"{np.exp(7.7):.6f}", logs).holds


def test_a_mean_must_be_so_many_standard_errors_near() -> None:
    numbers = np.array([1.0, 3.0])  # standard error 1
    assert within_errors("", 4.99, numbers).holds
    assert not within_errors("", 5.01, numbers).holds
    assert "± 1" in within_errors("", 5.01, numbers).measured
