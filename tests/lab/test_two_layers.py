"""The small network of the classic course, whose slopes are written out, against autograd."""

import math
from itertools import islice

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainwell.lab.plain_loop import Samples
from trainwell.lab.two_layers import BATCH, DECAY, DEVIATION, HIDDEN, TwoLayers, descent, printed_cost


def samples(count: int, features: int) -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = 60 * torch.randn(count, features, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    return Samples(inputs, labels, inputs, labels)


def test_a_step_is_that_of_autograd() -> None:
    given, rate = samples(BATCH, 20), 1e-2
    ours = TwoLayers(20, 0)
    for weight in ours.weights:
        weight.mul_(1e3)  # so that every part of the slope counts
    theirs = nn.Sequential(nn.Linear(20, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
    for layer, weight, bias in zip((theirs[0], theirs[2]), ours.weights, ours.biases, strict=True):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)
    loss = cross_entropy(theirs(given.inputs), given.labels)
    loss = loss + DECAY / 2 * (theirs[0].weight.square().sum() + theirs[2].weight.square().sum())
    loss.backward()
    torch.optim.SGD(theirs.parameters(), lr=rate).step()
    cost = ours.step(given.inputs, given.labels, rate)
    assert cost == pytest.approx(loss.item(), rel=1e-4)
    for layer, weight, bias in zip((theirs[0], theirs[2]), ours.weights, ours.biases, strict=True):
        torch.testing.assert_close(weight, layer.weight.data, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(bias, layer.bias.data, rtol=1e-5, atol=1e-6)
    assert ours.accuracy(given.inputs, given.labels) == pytest.approx(
        float((theirs(given.inputs).argmax(1) == given.labels).float().mean()), abs=0.011
    )


def test_first_weights_are_small_and_know_nothing() -> None:
    network = TwoLayers(400, 0)
    assert network.weights[0].std().item() == pytest.approx(DEVIATION, rel=0.03)
    assert not torch.equal(network.weights[0], TwoLayers(400, 1).weights[0])
    given = samples(200, 400)
    assert next(descent(network, given, 1e-3, 0)) == pytest.approx(math.log(10), abs=1e-3)


def test_an_epoch_sees_every_sample_once_and_the_next_in_another_order() -> None:
    seen: list[torch.Tensor] = []

    class Watching(TwoLayers):
        def step(self, inputs: torch.Tensor, labels: torch.Tensor, rate: float) -> float:
            seen.append(inputs[:, 0].clone())
            return 0.0

    given = samples(3 * BATCH, 4)
    list(islice(descent(Watching(4, 0), given, 1e-3, 0), 6))
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, given.inputs[:, 0].sort().values)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize(("gap", "expected"), [(10.0, 10.0), (700.0, 700.0), (800.0, math.inf)])
def test_the_printed_cost_is_infinite_where_a_probability_is_rounded_to_zero(gap: float, expected: float) -> None:
    assert printed_cost(torch.tensor([[0.0, gap]]), torch.tensor([0])) == pytest.approx(expected, rel=1e-4)
