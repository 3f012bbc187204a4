"""A convolution's matrix against unit images sent through the convolution, one by one."""

import pytest
import torch
from torch.nn import functional

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.layers_as_matrices import CONVOLUTIONS, COUNTS, LINEAR, SHIFTS, judge, measure, toeplitz


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, 2)])
def test_a_column_of_the_matrix_is_what_becomes_of_one_pixel(stride: int, padding: int) -> None:
    weight = torch.randn(3, 2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels = torch.eye(2 * 5 * 6, dtype=torch.float64).reshape(-1, 2, 5, 6)
    columns = functional.conv2d(pixels, weight, stride=stride, padding=padding).flatten(1).T
    torch.testing.assert_close(toeplitz(weight, 5, 6, stride=stride, padding=padding), columns, rtol=1e-12, atol=1e-12)


def test_a_row_that_is_off_is_judged_so() -> None:
    cells: dict[str, list[dict[str, float]]] = {
        COUNTS: [{"first layer": 12, "second layer": 3}],
        SHIFTS: [{"shifts that do not commute, convolution": 0, "shifts that do not commute, dense layer": 71}],
        LINEAR: [{"difference in float32": 3e-7, "difference in float64": 1e-15}],
    }
    for arm, settings in CONVOLUTIONS.items():
        (before, after), side = settings["channels"], settings["side"]
        free, row = side**2 * before * after, side**2 * before
        cells[arm] = [{"difference": 1e-15, "weights": free, "different entries": free, "largest row": row}]
    assert all(check.holds for check in judge(Table(cells)))
    cells[SHIFTS][0]["shifts that do not commute, convolution"] = 1
    cells[LINEAR][0]["difference in float32"] = 2e-6
    cells[COUNTS][0]["first layer"] = 15
    assert sum(not check.holds for check in judge(Table(cells))) == 3


def test_the_same_seed_gives_the_same_numbers() -> None:
    settings = {"what": "convolution", **CONVOLUTIONS["convolution 3x3, 3 to 4"]}
    assert measure(settings, 3, True) == measure(settings, 3, False)
