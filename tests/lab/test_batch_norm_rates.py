"""Steps to an accuracy on a problem that is known, and the judgement of tables that are known."""

import math

import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.batch_norm_rates import (
    AFTER,
    ARMS,
    BEFORE,
    EVERY,
    RATES,
    STARTS,
    WITHOUT,
    judge,
    measure,
    steps_to_target,
)
from trainwell.lab.plain_loop import Samples


def one_hot(classes: int = 10) -> Samples:
    inputs = torch.eye(classes).repeat(10, 1).reshape(-1, classes, 1, 1)
    labels = torch.arange(classes).repeat(10)
    return Samples(inputs, labels, inputs, labels)


def linear(weight: torch.Tensor) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(10, 10, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(weight)
    return network


def test_a_network_that_is_right_at_once_is_so_at_the_first_look() -> None:
    assert steps_to_target(linear(torch.eye(10)), one_hot(), 0.01, 0, 50) == EVERY


def test_it_takes_the_steps_that_the_closed_form_says() -> None:
    """From one wrong class a bias of 1 has to be overcome: a batch of 50 holds every class often, in any order."""
    start = torch.zeros(10, 10)
    start[0, 1:] = 1.0  # all say class 0 at first, 1.0 above the others
    rate = 1.0
    weight = start.clone()
    steps = 0
    while (weight.argmax(dim=0) == torch.arange(10)).float().mean() < 0.9:  # exact descent on all classes alike
        weight -= rate * (torch.softmax(weight, dim=0) - torch.eye(10)) / 10
        steps += 1
    found = steps_to_target(linear(start), one_hot(), rate, 0, 500)
    assert steps / 2 < found <= 2 * steps + EVERY


def test_a_rate_at_which_nothing_moves_or_all_explodes_never_gets_there() -> None:
    start = torch.zeros(10, 10)
    start[0] = 1.0
    assert steps_to_target(linear(start), one_hot(), 1e-9, 0, 20) == math.inf
    assert steps_to_target(linear(start * math.nan), one_hot(), 1.0, 0, 20) == math.inf


@pytest.mark.slow
def test_what_is_measured_is_finite_and_as_long_as_the_grid() -> None:
    values = measure(ARMS[BEFORE], 0, True)
    assert {name: len(list(value)) for name, value in values.items()} == {  # type: ignore[arg-type]
        "steps": len(RATES),
        "reached": len(RATES),
        "accuracy": len(STARTS),
    }
    assert all(math.isfinite(number) for value in values.values() for number in value)  # type: ignore[union-attr]


def table(plain: int, normed: int, spread: float) -> Table:
    few, many = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1.0] * 6
    bad = {"steps": [plain] * 2 + [600] * 4, "reached": few, "accuracy": [0.9, 0.9, 0.9, 0.1, 0.1]}
    good = {"steps": [normed] * 6, "reached": many, "accuracy": [0.9, 0.9, 0.9, 0.9, 0.9 - spread]}
    return Table({WITHOUT: [bad] * 3, BEFORE: [good] * 3, AFTER: [good] * 3})


def test_steps_rates_and_starts_are_judged_as_they_are() -> None:
    assert [check.holds for check in judge(table(150, 10, 0.1))] == [True] * 6
    assert [check.holds for check in judge(table(50, 10, 0.6))] == [True, False, True, True, True, False]
    assert [check.holds for check in judge(table(10, 50, 0.1))] == [False, False, True, True, True, True]
