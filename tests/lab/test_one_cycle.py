"""Training under a rate that rises and falls: what it is given, what it does, and that it is the same again."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from trainwell.lab.one_cycle import Outcome, Plan, network_of, train_once
from trainwell.lab.plain_loop import Samples


def samples(count: int = 40) -> Samples:
    """Images whose class is the place of their one bright column."""
    labels = torch.arange(count) % 10
    inputs = torch.zeros(count, 3, 10, 10)
    inputs[torch.arange(count), :, :, labels] = 3.0
    return Samples(inputs, labels, inputs[:20], labels[:20])


def test_a_network_is_a_function_of_the_seed_and_built_for_the_images() -> None:
    one, again, other = (network_of("cifar_resnet", {"depth": 8, "width": 2}, samples(), seed=s) for s in (0, 0, 1))
    weights = [next(iter(network.parameters())) for network in (one, again, other)]
    assert weights[0].shape[1] == 3
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_it_learns_what_can_be_learned_and_says_the_same_again() -> None:
    found = []
    for _ in range(2):
        network = nn.Sequential(nn.Flatten(), nn.Linear(300, 10))
        nn.init.zeros_(network[1].weight)
        nn.init.zeros_(network[1].bias)
        found.append(train_once(network, samples(), Plan(20, batch=10), seed=3))
    assert np.array_equal(found[0].losses, found[1].losses)
    assert found[0].losses[0] == pytest.approx(math.log(10), rel=1e-6)
    assert (found[0].error, found[0].training_error) == (0.0, 0.0)
    assert found[0].losses.shape == (20 * 4,)


def test_a_step_is_nesterov_s_with_decay() -> None:
    """A run of one step has the highest rate: w <- w - lr (1 + momentum) (g + d w)."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(300, 10, bias=False))
    weight = network[1].weight
    before = weight.detach().clone()
    data = samples(10)
    torch.nn.functional.cross_entropy(network(data.inputs), data.labels).backward()
    expected = before - 0.5 * 1.9 * (weight.grad + 0.01 * before)
    network.zero_grad()
    train_once(network, data, Plan(1, rate=0.5, batch=10, decay=0.01), seed=0)
    torch.testing.assert_close(weight.detach(), expected)


def test_losses_by_epoch_are_means_and_what_is_not_finite_is_ignorance() -> None:
    assert Outcome(np.array([1.0, 3.0, 5.0, 7.0]), 0.0, 0.0).by_epoch(2) == [2.0, 6.0]
    network = nn.Sequential(nn.Flatten(), nn.Linear(300, 10))
    nn.init.constant_(network[1].weight, math.nan)
    losses = train_once(network, samples(10), Plan(1, batch=10), seed=0).losses
    assert losses.tolist() == [math.log(10)]
