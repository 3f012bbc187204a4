"""The newcomers' truths: the small tools against torch and closed forms, the judge against numbers that break each."""

import math

import pytest
import torch
from torch.nn import functional

from trainwell.core.shelves import experiments
from trainwell.lab.experiment import Table
from trainwell.lab.experiments.newcomers import (
    BATCH,
    DATA,
    FIRST,
    ONE,
    SCALE,
    build,
    judge,
    loss_and_accuracy,
    measure,
    train,
)

INPUTS = torch.rand(100, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(100) % 10


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_a_zero_head_starts_at_the_logarithm_of_the_number_of_classes(classes: int) -> None:
    found = measure(FIRST[f"first loss, {classes} classes, zero head"], 0, True)
    assert found["loss"] == pytest.approx(math.log(classes), rel=1e-6)


def test_a_head_that_is_not_small_starts_higher() -> None:
    assert loss_and_accuracy(build(10, 1.0, 0), INPUTS, LABELS)[0] > 1.2 * math.log(10)


def test_a_step_is_that_of_autograd_on_the_batch_of_the_epoch() -> None:
    ours, other = build(10, 0.1, 0), build(10, 0.1, 0)
    train(ours, INPUTS[:BATCH], LABELS[:BATCH], steps=2, seed=0)
    for _ in range(2):  # a single batch: its order does not matter
        grads = torch.autograd.grad(
            functional.cross_entropy(other(INPUTS[:BATCH]), LABELS[:BATCH]), list(other.parameters())
        )
        with torch.no_grad():
            for parameter, grad in zip(other.parameters(), grads, strict=True):
                parameter -= 0.2 * grad
    for mine, its in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its)


def test_loss_and_accuracy_of_known_scores() -> None:
    loss, accuracy = loss_and_accuracy(
        torch.nn.Identity(), torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1])
    )
    assert loss == pytest.approx((math.log(2) + 9 + math.log1p(math.exp(-9))) / 2, rel=1e-6)
    assert accuracy == 0.5


def test_the_judge_sees_each_truth_broken() -> None:
    cells: dict[str, list[dict[str, float]]] = {arm: [{"loss": math.log(s["classes"])}] for arm, s in FIRST.items()}
    cells |= {arm: [{"loss": 0.001, "accuracy": 1.0}] for arm in ONE}
    cells |= {arm: [{"test accuracy": 0.9 + place / 50, "epochs": 1.0}] for place, arm in enumerate(DATA)}
    honest, leaked, own = {"deployed accuracy": 0.9}, {"deployed accuracy": 0.1}, {"deployed accuracy": 0.6}
    cells |= {
        arm: [row | {"reported accuracy": 0.9}] for arm, row in zip(SCALE, (honest, leaked, own, own), strict=True)
    }
    assert all(check.holds for check in judge(Table(cells)))
    for arm, row in (
        (next(iter(FIRST)), {"loss": 0.7}),
        (list(ONE)[1], {"loss": 0.001, "accuracy": 0.99}),
        (list(DATA)[2], {"test accuracy": 0.8, "epochs": 1.0}),
        (list(SCALE)[1], honest | {"reported accuracy": 0.9}),
        (list(SCALE)[3], honest | {"reported accuracy": 0.9}),
    ):
        assert sum(not check.holds for check in judge(Table(cells | {arm: [row]}))) == 1, arm
    assert set(experiments.build("newcomers").arms) == set(cells)
