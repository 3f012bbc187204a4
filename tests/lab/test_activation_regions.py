"""Activation regions counted by splitting polygons, against linear programs, Euler's formula and areas."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from trainwell.core.shelves import experiments
from trainwell.errors import ShapeError
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.activation_regions import draw_layers, judge, measure, regions_by_crossings
from trainwell.lab.regions import Layer, regions_of


def is_feasible(layers: list[Layer], pattern: tuple[bool, ...], half_width: float) -> bool:
    """Whether some point of the square has this pattern with room to spare: a linear program."""
    matrix, offset, start = np.eye(2), np.zeros(2), 0
    rows, limits = [], []
    for weight, bias in layers:
        matrix, offset = weight @ matrix, weight @ offset + bias
        active = np.array(pattern[start : start + len(bias)])
        start += len(bias)
        sign = np.where(active, 1.0, -1.0)
        size = np.maximum(np.linalg.norm(matrix, axis=1), 1e-30)
        rows.append(np.hstack([-(sign / size)[:, None] * matrix, np.ones((len(bias), 1))]))  # sign (a x + c) >= room
        limits.append(sign * offset / size)
        matrix, offset = matrix * active[:, None], offset * active
    box = [(-half_width, half_width)] * 2 + [(None, 1.0)]
    found = linprog([0, 0, -1], A_ub=np.vstack(rows), b_ub=np.concatenate(limits), bounds=box)
    return bool(found.status == 0 and found.x[2] > 1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_patterns_are_those_that_a_linear_program_finds(depth: int, seed: int) -> None:
    layers = draw_layers(6, depth, seed)
    found = {region.pattern for region in regions_of(layers, half_width=1.0)}
    wanted = {p for p in itertools.product([False, True], repeat=6) if is_feasible(layers, p, 1.0)}
    assert found == wanted


def test_one_layer_makes_one_region_more_than_its_lines_and_crossings() -> None:
    for seed in range(5):
        (weight, bias) = draw_layers(20, 1, seed)[0]
        for half_width in (0.2, 5.0):
            found = regions_of([(weight, bias)], half_width=half_width)
            assert len(found) == regions_by_crossings(weight, bias, half_width=half_width)
    everywhere = regions_of([draw_layers(12, 1, 0)[0]], half_width=1e6)
    assert len(everywhere) == 1 + 12 + 12 * 11 // 2


@pytest.mark.parametrize("depth", [1, 4])
def test_the_regions_tile_the_square_and_each_has_the_pattern_of_its_middle(depth: int) -> None:
    layers = draw_layers(32, depth, 3)
    regions = regions_of(layers, half_width=2.0)
    assert sum(region.area for region in regions) == pytest.approx(16.0, rel=1e-9)
    assert len({region.pattern for region in regions}) == len(regions)
    for region in regions:
        inputs, pattern = region.corners.mean(axis=0), []
        for weight, bias in layers:
            sums = weight @ inputs + bias
            pattern += (sums > 0).tolist()
            inputs = np.maximum(sums, 0)
        assert tuple(pattern) == region.pattern


def test_lines_through_the_origin_make_sectors_only() -> None:
    weight = draw_layers(10, 1, 0)[0][0]
    assert len(regions_of([(weight, np.zeros(10))], half_width=1.0)) == 20


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"layer 2 must have weight \(width, 3\) and bias"):
        regions_of([(np.ones((3, 2)), np.ones(3)), (np.ones((2, 2)), np.ones(2))], half_width=1.0)


def test_the_experiment_measures_by_the_counter_and_judges_a_wrong_count_as_wrong() -> None:
    experiment = experiments.build("activation_regions")
    settings = experiment.arms["12 neurons, depth 1"]
    values = measure(settings, 0, True)
    weight, bias = draw_layers(12, 1, 0)[0]
    assert values["regions"] == regions_by_crossings(weight, bias, half_width=20.0)
    as_claimed = {
        arm: [{"regions": s["neurons"] ** 2 / 2 + d, "by crossings": s["neurons"] ** 2 / 2 + d} for d in (-90, 7, 90)]
        for arm, s in experiment.arms.items()
    }
    verdicts = {check.claim: check.holds for check in judge(Table(as_claimed))}
    assert not verdicts.pop("12 neurons in one layer, all lines crossing inside the square")
    assert all(verdicts.values())
    doubled = {arm: [{k: 2.0 * v for k, v in row.items()} for row in rows] for arm, rows in as_claimed.items()}
    assert not any(check.holds for check in judge(Table(doubled)) if "mean regions" in check.claim)
