"""The image experiment's network, training and judgement, against what is known of them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.lab.experiment import Table
from trainwell.lab.experiments import centring_images
from trainwell.lab.experiments.centring_images import FORMS, accuracy, build, judge, train

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, LABELS = torch.randn(30, 3, 32, 32, generator=GENERATOR), torch.arange(30) % 10


def test_the_network_keeps_the_second_moment_and_starts_at_the_loss_of_chance() -> None:
    network = build(0)
    scores = network(IMAGES)
    assert scores.shape == (30, 10)
    assert abs(functional.cross_entropy(scores, LABELS).item() - math.log(10)) < 0.1


def test_training_is_plain_gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centring_images, "EPOCHS", 2)
    ours, other = train(IMAGES, LABELS, rate=0.05, seed=0), build(0)
    for _ in range(2):  # 30 images are one batch
        grads = torch.autograd.grad(functional.cross_entropy(other(IMAGES), LABELS), list(other.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(other.parameters(), grads, strict=True):
                parameter -= 0.05 * grad
    for mine, its in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)  # the sum over a batch has another order


def test_accuracy_counts_the_right_ones() -> None:
    assert accuracy(nn.Identity(), torch.eye(10), torch.tensor([0, 1, 2, 3, 4, 9, 9, 9, 9, 9])) == pytest.approx(0.6)


def test_the_judge_sees_when_centring_does_not_suffice() -> None:
    def holds(accuracies: tuple[float, ...]) -> list[bool]:
        cells = {form: [{"test accuracy": value}] for form, value in zip(FORMS, accuracies, strict=True)}
        return [check.holds for check in judge(Table(cells))]

    assert holds((0.33, 0.40, 0.41, 0.39)) == [True, True, True]
    assert holds((0.40, 0.39, 0.45, 0.44)) == [False, False, False]
