"""The judgement of barriers that are known, and the pictures."""

import numpy as np

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.restarts_and_connectivity import ARMS, figures, judge


def run(line: float, curve: float) -> Values:
    """Ends of .1 and .05, and a highest loss half way."""
    ways = {"line, loss": [0.1, line, 0.05], "curve, loss": [0.1, curve, 0.05], "t": [0.0, 0.5, 1.0]}
    right = {"line, accuracy": [0.8, 0.5, 0.8], "curve, accuracy": [0.8, 0.8, 0.8]}
    plane = {"plane x": [0.0, 1.0], "plane y": [0.0, 1.0, 2.0], "plane": np.arange(6.0).tolist()}
    points = {name: [0.0, 0.5, 1.0] for name in ("path x", "path y", "curve x", "curve y", "corners x", "corners y")}
    return {**ways, **right, **plane, **points}


def holds(line: float, curve: float) -> list[bool]:
    (arm,) = ARMS
    return [check.holds for check in judge(Table({arm: [run(1.0, 0.1), run(line, curve)]}))]


def test_a_barrier_and_a_way_around_it_are_judged_by_the_worst_seed() -> None:
    assert holds(1.0, 0.2) == [True, True]
    assert holds(0.15, 0.1) == [False, True]
    assert holds(1.0, 0.5) == [True, False]


def test_the_plane_is_drawn_row_by_row() -> None:
    (arm,) = ARMS
    ways, plane = figures(Table({arm: [run(1.0, 0.1)]}))
    assert [trace.name for trace in ways.data] == ["line", "curve"]
    assert np.array(plane.data[0].z).tolist() == [[0, 1], [2, 3], [3, 3]]  # cut at the highest that is told apart
