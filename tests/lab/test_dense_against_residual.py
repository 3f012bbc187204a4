"""The distance of two families that are known, the sizes of the networks, and the judgement of known errors."""

from typing import Any

import numpy as np
import pytest

from trainwell.core.shelves import experiments, models
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.dense_against_residual import (
    DENSE,
    FEWER,
    PAIRS,
    RESIDUAL,
    THIRD,
    figures,
    judge,
    times_fewer,
)

SIZES = np.array([17e3, 68e3, 270e3, 5e3, 20e3, 72e3])
IS_DENSE = np.array([False, False, False, True, True, True])


def parameters(settings: Any) -> int:
    options = {option: value for option, value in settings.items() if option != "model"}
    network = models.build(settings["model"], options, in_channels=3, num_classes=10)
    return sum(weight.numel() for weight in network.parameters())


def errors(times: float) -> np.ndarray:
    """Errors that fall by 5 points with each factor e, of networks that count for so many times their parameters."""
    return 0.9 - 0.05 * np.log(SIZES * np.where(IS_DENSE, times, 1.0))


@pytest.mark.parametrize("times", [0.5, 1.0, 3.0, 12.0])
def test_the_factor_between_two_families_is_found(times: float) -> None:
    assert times_fewer(SIZES, errors(times), IS_DENSE) == pytest.approx(times)


def test_each_dense_network_has_at_most_a_third_of_the_parameters_of_its_residual_one() -> None:
    for dense, residual in PAIRS:
        assert parameters(DENSE[dense]) <= THIRD * parameters(RESIDUAL[residual])


def table(times: float, seeds: int = 3) -> Table:
    rows: dict[str, list[dict[str, Any]]] = {}
    for arm, size, error in zip([*RESIDUAL, *DENSE], SIZES, errors(times), strict=True):
        about = {"parameters": size, "operations": 100 * size, "training error": 0.0, "loss": [2.0, 1.0]}
        shift = 0.01 if arm in DENSE else 0.0
        rows[arm] = [about | {"error": error + shift * (seed - (seeds - 1) / 2)} for seed in range(seeds)]
    return Table(rows)


def holding(times: float, seeds: int = 3) -> list[bool]:
    return [check.holds for check in judge(table(times, seeds))]


def test_the_judge_holds_sizes_and_families_to_the_claim() -> None:
    assert holding(5.0) == [True] * 5
    assert holding(2.0) == [False] * 3 + [True, False]
    assert holding(1.0) == [False] * 5
    assert holding(2.0, seeds=1) == [False] * 3 + [True, False]
    assert [check.claim for check in judge(table(5.0))][3] == FEWER


def test_a_difference_within_chance_does_not_show_that_fewer_are_enough() -> None:
    assert holding(1.1)[3] is False


def test_every_network_is_in_both_figures() -> None:
    by_parameters, by_operations = figures(table(5.0))
    assert [trace.name for trace in by_parameters.data if trace.name] == ["ResNet", "DenseNet-BC"]
    assert {note.text for note in by_operations.layout.annotations} >= set(RESIDUAL) | set(DENSE)
    assert set(experiments.build("dense_against_residual").arms) == set(RESIDUAL) | set(DENSE)
