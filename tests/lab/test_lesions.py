"""What is lost without parts, on networks whose parts are known; the judgement of tables that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table, Values
from trainwell.lab.experiments.lesions import (
    PLAIN,
    RESIDUAL,
    figures,
    judge,
    lost,
    one_by_one,
    rank_correlation,
    several_deleted,
    several_swapped,
)
from trainwell.lab.plain_loop import Samples, accuracy, few_digits
from trainwell.lab.units import end_of_branch, units_of
from trainwell.models.resnet import cifar_resnet


def network_and_samples(depth: int = 20) -> tuple[nn.Module, Samples]:
    torch.manual_seed(0)
    return cifar_resnet(1, 10, depth=depth, width=4, shortcut="A").eval(), few_digits(0, count=100, held_out=60)


@torch.no_grad()
def test_units_that_do_nothing_are_not_missed_whatever_is_deleted_or_swapped() -> None:
    network, samples = network_and_samples()
    for unit in units_of(network):
        for parameter in end_of_branch(unit).parameters():
            parameter.zero_()
    whole = accuracy(network, samples.held_out, samples.held_out_labels)
    chance = np.random.default_rng(0)
    assert set(one_by_one(network, units_of(network), samples)) == {whole}
    assert several_deleted(network, samples, draws=2, chance=chance) == pytest.approx([whole] * 10)
    swapped = several_swapped(network, samples, draws=2, chance=chance)
    assert [right for right, _ in swapped] == pytest.approx([whole] * len(swapped))
    assert swapped[0][1] == 1.0 > swapped[1][1] > 0


@torch.no_grad()
def test_a_network_is_whole_after_all_of_it() -> None:
    network, samples = network_and_samples()
    before, scores = list(network.modules()), network(samples.held_out)
    one_by_one(network, units_of(network), samples)
    several_deleted(network, samples, draws=2, chance=np.random.default_rng(0))
    several_swapped(network, samples, draws=2, chance=np.random.default_rng(0))
    assert list(network.modules()) == before
    assert torch.equal(network(samples.held_out), scores)


def test_rank_correlation_is_that_of_the_places() -> None:
    scipy = pytest.importorskip("scipy.stats")
    orders = {0: [2, 0, 1, 3], 1: [0, 2, 1]}
    places = [2, 0, 1, 3, 4, 6, 5]
    assert rank_correlation(orders) == pytest.approx(scipy.kendalltau(range(7), places).statistic)


def table(deleted: list[float], plain: list[float], several: list[float], swapped: list[float]) -> Table:
    whole = {"accuracy": 0.6}
    row: Values = {
        **whole,
        "one deleted": deleted,
        "one that changes the shape deleted": [0.4, 0.4],
        "several deleted": several,
        "several swapped": swapped,
        "rank correlation": [1.0] * len(swapped),
    }
    return Table({RESIDUAL: [row] * 3, PLAIN: [{**whole, "one deleted": plain}] * 3})


GOOD = ([0.58, 0.5], [0.1, 0.12], [0.6, 0.5, 0.4, 0.25, 0.1], [0.6, 0.55, 0.5])


def test_what_is_lost_is_the_share_of_the_accuracy_above_chance() -> None:
    assert lost(table(*GOOD), RESIDUAL, "one deleted")[0].tolist() == pytest.approx([0.04, 0.2])


@pytest.mark.parametrize(
    ("place", "instead", "failing"),
    [
        (0, [0.3, 0.3], {"deleting one residual unit hardly hurts"}),
        (1, [0.3, 0.3], {"deleting one plain layer destroys"}),
        (2, [0.6, 0.59, 0.58, 0.57, 0.1], {"the error rises smoothly with the number of units deleted at random"}),
        (3, [0.6, 0.6, 0.6], {"the error rises smoothly with the number of units swapped"}),
    ],
)
def test_the_judge_sees_what_is_broken(place: int, instead: list[float], failing: set[str]) -> None:
    assert all(check.holds for check in judge(table(*GOOD)))
    given = [instead if number == place else numbers for number, numbers in enumerate(GOOD)]
    assert {check.claim for check in judge(table(*given)) if not check.holds} == failing


def test_the_pictures_have_both_networks() -> None:
    parts, curves = figures(table(*GOOD))
    assert {trace.name for trace in parts.data} == {RESIDUAL, PLAIN}
    assert {trace.name for trace in curves.data} == {"deleted", "swapped"}
