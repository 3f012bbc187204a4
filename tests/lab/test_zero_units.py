"""Sums over pre-activation units against what they are by definition; the judgement of tables that are known."""

import pytest
import torch

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.zero_units import (
    ARMS,
    BLOCKS,
    NEAR,
    PREACT,
    RESIDUAL,
    apart,
    figures,
    judge,
    loss,
    moved,
)
from trainwell.lab.plain_loop import few_digits
from trainwell.lab.units import units_of
from trainwell.models.deepen import deepen
from trainwell.models.preact import preact
from trainwell.models.resnet import cifar_resnet


def test_between_units_of_a_pre_activation_network_only_branches_are_added() -> None:
    torch.manual_seed(0)
    network, images = preact(3, 10, depth=26), torch.randn(4, 3, 8, 8)
    assert 0 < apart(network, images) <= NEAR
    assert apart(network.double(), images.double()) <= 1e-14
    assert not any(module._forward_hooks for module in network.modules())


def test_a_unit_that_does_more_than_add_is_seen() -> None:
    network, images = preact(3, 10, depth=20), torch.randn(4, 3, 8, 8)
    units_of(network)[4].register_forward_hook(lambda module, inputs, output: 1.01 * output)
    assert apart(network, images) > 1e-3


def test_where_an_activation_stands_on_the_skip_the_sum_is_not_all() -> None:
    torch.manual_seed(0)
    assert apart(cifar_resnet(3, 10, depth=20, width=4), torch.randn(4, 3, 8, 8)) > 1e-3


def test_a_deepened_network_answers_as_before_and_another_does_not() -> None:
    torch.manual_seed(0)
    network, images = cifar_resnet(3, 10, depth=8, width=4), torch.randn(4, 3, 8, 8)
    assert moved(network, deepen(network), images) == 0
    assert moved(network, cifar_resnet(3, 10, depth=8, width=4), images) > 0


def test_the_loss_is_that_of_all_images() -> None:
    torch.manual_seed(0)
    network, samples = cifar_resnet(1, 10, depth=8, width=4), few_digits(0, count=1_200, held_out=10)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(network.eval()(samples.inputs), samples.labels)
    assert loss(network, samples) == pytest.approx(float(expected), rel=1e-5)


def table(**changes: float) -> Table:
    row = {"moved": 0.0, "loss before": 1.0, "loss without": 0.5, "loss with": 0.5, "apart": 1e-7}
    row |= {name.replace("_", " "): value for name, value in changes.items()}
    curves = {f"curve {name}": [1.0] * BLOCKS for name in ("with", "without")}
    return Table({arm: [{**row, **curves}] * 3 for arm in ARMS})


def test_the_judge_sees_what_is_broken() -> None:
    assert all(check.holds for check in judge(table()))
    assert [check.holds for check in judge(table(moved=1e-7))] == [False, False, True, True, True]
    assert [check.holds for check in judge(table(apart=1e-5))] == [True, True, False, True, True]
    assert [check.holds for check in judge(table(loss_with=0.52))] == [True, True, True, False, False]
    (drawn,) = figures(table())
    assert len(drawn.data) == 2 * len({RESIDUAL, PREACT})
