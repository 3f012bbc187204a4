"""Lines that are drawn keep their peaks, their mean and their place."""

import numpy as np

from trainwell.core.record import Reading
from trainwell.pictures.series import Series, history, smooth, thin, window_of


def test_readings_are_sorted_by_name_and_place() -> None:
    readings = [Reading(0, "norm", 1.0, "a"), Reading(0, "norm", 2.0, "b"), Reading(1, "norm", 3.0, "a")]
    found = history(readings)
    assert found["norm"]["a"].values.tolist() == [1.0, 3.0]
    assert found["norm"]["b"].steps.tolist() == [0]


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    found = history([Reading(0, "x", float("inf")), Reading(1, "x", 1.0), Reading(2, "x", float("nan"))])["x"][""]
    assert found.steps.tolist() == [1]
    assert found.left_out == 2


def test_thinning_keeps_every_peak_and_the_order() -> None:
    values = np.zeros(100_000)
    values[[7, 5_000, 99_998]] = [50.0, -80.0, 60.0]
    found = thin(Series(np.arange(100_000), values), most=2_000)
    assert len(found) <= 2_000
    assert {50.0, -80.0, 60.0} <= set(found.values.tolist())
    assert (np.diff(found.steps) > 0).all()
    assert (values[found.steps] == found.values).all()


def test_a_short_line_is_not_thinned() -> None:
    line = Series(np.arange(10), np.arange(10.0))
    assert thin(line, most=10) is line


def test_smoothing_is_the_plain_mean_of_the_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=50)
    found = smooth(Series(np.arange(50), values), 7).values
    reach = [min(3, n, 49 - n) for n in range(50)]
    expected = [values[n - r : n + r + 1].mean() for n, r in enumerate(reach)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_window_is_odd_so_that_it_has_a_middle() -> None:
    assert all(window_of(Series(np.arange(n), np.zeros(n))) % 2 == 1 for n in (1, 10, 400, 1_000, 99_999))
