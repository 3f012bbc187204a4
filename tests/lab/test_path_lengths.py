"""Paths one by one: as many as there are, and together the gradient; the judgement of spreads that are known."""

import itertools
import math

import numpy as np
import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.path_lengths import (
    COUNTED,
    EXACT,
    FEW_UNITS,
    LINEAR,
    PRINTED,
    TRAINED,
    _counted,
    by_length,
    central,
    dense_distance,
    every_path,
    figures,
    judge,
    lengths_of_paths,
    network_distance,
)
from trainwell.lab.units import units_of
from trainwell.models.resnet import cifar_resnet


@pytest.mark.parametrize("units", [0, 1, 4, 6])
def test_there_are_2_to_the_n_paths_of_binomial_lengths(units: int) -> None:
    paths = list(every_path(units))
    assert len(set(paths)) == len(paths) == 2**units
    lengths = [len(path) for path in paths]
    assert [lengths.count(k) for k in range(units + 1)] == [math.comb(units, k) for k in range(units + 1)]


def test_the_printed_shares_are_those_of_tossed_coins() -> None:
    tossed = np.random.default_rng(0).binomial(54, 0.5, size=200_000)
    for low, high in PRINTED:
        share = ((tossed >= low) & (tossed <= high)).mean()
        exact = _counted()["share"][list(PRINTED).index((low, high))]  # type: ignore[index]
        assert abs(share - exact) <= 5 * math.sqrt(exact * (1 - exact) / len(tossed))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_sum_over_all_paths_is_the_gradient(seed: int) -> None:
    assert dense_distance(seed) <= EXACT
    assert network_distance(seed, "identity") <= EXACT
    assert network_distance(seed, "relu") <= EXACT


def test_paths_of_each_length_are_drawn_with_as_many_branches() -> None:
    torch.manual_seed(0)
    units = units_of(cifar_resnet(3, 10, depth=20, width=4))
    asked: list[tuple[int, ...]] = []
    found = lengths_of_paths(
        units,
        lambda through: asked.append(tuple(through)) or float(2 ** len(through)),
        draws=3,
        chance=np.random.default_rng(0),
    )
    assert found == [2.0**k for k in range(10)]
    assert [len(path) for path in asked] == [k for k in range(10) for _ in range(3)]
    assert all(len(set(path)) == len(path) and set(path) <= set(range(9)) for path in asked)


def test_equal_gradients_are_spread_as_the_paths_are_and_shrinking_ones_as_a_biased_coin_falls() -> None:
    """sum over k of C(n, k) r^k = (1 + r)^n: the lengths are Binomial(n, r / (1 + r))."""
    n, r = 20, 0.25
    spread = by_length(np.array([[1.0] * (n + 1), [r**k for k in range(n + 1)]]))
    chances = [0.5, r / (1 + r)]
    for row, p in zip(spread, chances, strict=True):
        assert row == pytest.approx([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
    low, high = central(spread[1], 0.9)
    assert low <= n * chances[1] <= high


def table(factor: float, units: int = 20, apart: float = 1e-14) -> Table:
    lengths = [factor**k for k in range(units + 1)]
    counted = {
        "share": [0.98016567, 0.00453667],
        "paths by length": [float(math.comb(FEW_UNITS, k)) for k in range(FEW_UNITS + 1)],
        "units found": 54.0,
    }
    linear = {"dense": apart, "convolutions": apart, "convolutions with ReLU": apart}
    trained = {"gradient of one path": lengths, "accuracy": 0.5}
    return Table({COUNTED: [counted] * 2, LINEAR: [linear] * 2, TRAINED: [trained] * 2})


def test_short_paths_and_exact_sums_are_judged_as_they_are() -> None:
    assert all(check.holds for check in judge(table(0.2)))
    assert sum(not check.holds for check in judge(table(1.5))) == 3, "long paths that bring more"
    assert sum(not check.holds for check in judge(table(0.2, apart=1e-6))) == 3, "sums that are no gradients"
    assert len(list(itertools.chain(*(figure.data for figure in figures(table(0.2)))))) == 4
