"""Silenced and equal units: the step against torch's own, death and symmetry against gradients worked out by hand."""

import pytest
import torch
from torch.nn import functional

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.dying_units import AFTER, ALIKE, build, judge, silent, step

INPUTS = torch.rand(40, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 10


def test_a_step_is_plain_gradient_descent() -> None:
    ours, other = (build(8, 0.01, "random", 3) for _ in range(2))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.5)
    for _ in range(3):
        step(ours, INPUTS, LABELS, 0.5)
        optimizer.zero_grad()
        functional.cross_entropy(other(INPUTS), LABELS).backward()
        optimizer.step()
    for mine, its in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its)


def test_a_unit_is_silent_when_no_sample_reaches_it() -> None:
    network = build(4, 0.0, "random", 0)
    with torch.no_grad():
        network[0].weight[:] = torch.tensor([1.0, -1.0, -1.0, 0.0]).unsqueeze(1)  # inputs are positive
        network[0].bias[:] = torch.tensor([0.0, 0.0, 100.0, 0.0])
    assert silent(network, INPUTS).tolist() == [False, True, False, True]


@pytest.mark.parametrize(("slope", "moves"), [(0.0, False), (0.01, True)])
def test_only_a_leak_lets_a_silent_unit_move(slope: float, moves: bool) -> None:
    network = build(4, slope, "random", 0)
    with torch.no_grad():
        network[0].bias[1] = -1000.0
    before = network[0].weight[1].clone()
    step(network, INPUTS, LABELS, 0.1)
    assert (not torch.equal(network[0].weight[1], before)) is moves


def test_the_judge_sees_a_unit_that_woke_and_units_that_differ() -> None:
    row = {"silent before": 1.0, "silent after": 1.0, "silent that woke": 0.0, "silent that moved": 0.0}
    cells = {arm: [row | {"accuracy": 0.1 if s["burst"] and s["slope"] == 0 else 0.9}] for arm, s in AFTER.items()}
    cells["ReLU, good rate"][0]["silent after"] = 0.0
    cells |= {arm: [{"different units": 1.0, "largest weight": 1.0}] for arm in ALIKE}
    cells["random weights"][0]["different units"] = 32.0
    assert all(check.holds for check in judge(Table(cells)))
    cells["ReLU after too large a rate"][0]["silent that moved"] = 1.0
    cells["all weights 0"][0]["different units"] = 2.0
    assert sum(not check.holds for check in judge(Table(cells))) == 2
    assert set(experiments.build("dying_units").arms) == set(cells)
