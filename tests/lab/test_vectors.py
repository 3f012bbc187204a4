"""The vector experiment's own training and search, against torch's numbers and cases whose answer is known."""

import math

import pytest
import torch
from torch.nn import functional

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.vectors import (
    NETWORKS,
    SETS,
    Setting,
    Vectors,
    build,
    centred,
    choose,
    evaluate,
    judge,
    train,
)


def blobs(count: int = 400) -> Vectors:
    """Ten classes, each far along its own axis."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    return Vectors(10 * functional.one_hot(labels, 20).float() + torch.randn(count, 20, generator=generator), labels)


def test_images_become_vectors_whose_mean_is_zero() -> None:
    images = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean = images.flatten(1).float().mean(dim=0)
    done = centred(images, torch.zeros(50), mean)
    torch.testing.assert_close(done.inputs.mean(dim=0), torch.zeros(48), atol=1e-4, rtol=0)
    assert done.inputs.std() > 50, "levels stay levels"


def test_weights_start_at_the_deviation_that_is_asked_for() -> None:
    """5 standard errors of a deviation over 40,000 weights: a false failure in 2e6."""
    small = build(200, Setting((200,), False, 0.1, 0.0, 0))
    he = build(200, Setting((200,), True, 0.1, 0.0, 0))
    error = 5 / math.sqrt(2 * 200 * 200)
    assert small[0].weight.std().item() == pytest.approx(1e-4, rel=error)
    assert he[0].weight.std().item() == pytest.approx(0.1, rel=error)  # sqrt(2 / 200)
    assert [type(layer).__name__ for layer in he] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_decay_adds_its_share_of_the_weights_to_the_gradient_and_none_of_the_biases() -> None:
    samples, setting = blobs(200), Setting((), False, 0.01, 0.5, 0)
    once = train(samples, setting, epochs=1)
    by_hand = build(20, setting)
    loss = functional.cross_entropy(by_hand(samples.inputs), samples.labels) + 0.25 * by_hand[0].weight.square().sum()
    loss.backward()
    torch.testing.assert_close(once[0].weight, by_hand[0].weight - 0.01 * by_hand[0].weight.grad)
    torch.testing.assert_close(once[0].bias, by_hand[0].bias - 0.01 * by_hand[0].bias.grad)


def test_the_search_takes_a_rate_that_learns_over_one_that_cannot() -> None:
    samples = blobs()
    best = choose(
        samples.part(0, 200),
        samples.part(200, 400),
        {"hidden": (), "rates": (1e-9, 0.5), "decays": (1e-3,)},
        0,
        epochs=20,
    )
    assert best.rate == 0.5
    assert evaluate(train(samples, best, epochs=20), samples)[1] == 1.0


def test_a_loss_that_is_not_finite_never_wins() -> None:
    network = torch.nn.Linear(20, 10)
    torch.nn.init.constant_(network.weight, math.inf)
    assert evaluate(network, blobs())[0] == math.inf


def test_the_judge_holds_eight_layers_to_fail() -> None:
    def cells(eight: float) -> dict[str, list[dict[str, float]]]:
        accuracies = dict(zip(NETWORKS, (0.38, 0.51, eight, 0.5), strict=True))
        rest = {"rate": 0.1, "samples": 50_000.0}
        return {
            f"{label}, {name}": [{"test accuracy": accuracies[name]} | rest] * 2 for label in SETS for name in NETWORKS
        }

    assert all(check.holds for check in judge(Table(cells(0.1))))
    assert sum(not check.holds for check in judge(Table(cells(0.4)))) == len(SETS)
