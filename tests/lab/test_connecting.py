"""Ways between two networks against what they are for weights that can be written down."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainwell.lab.connecting import Plane, bend, bezier, look_at, straight, weights_of
from trainwell.lab.plain_loop import Samples


def samples() -> Samples:
    torch.manual_seed(0)
    inputs = torch.randn(64, 2)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    return Samples(inputs, labels, inputs[:20], labels[:20])


def normed() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_both_ways_go_from_end_to_end() -> None:
    first, middle, last = ([torch.randn(3, 2), torch.randn(2)] for _ in range(3))
    for t, end in ((0.0, first), (1.0, last)):
        for way in (straight(first, last, t), bezier(first, middle, last, t)):
            for found, expected in zip(way, end, strict=True):
                torch.testing.assert_close(found, expected)
    on_the_line = bezier(first, straight(first, last, 0.5), last, 0.3)
    for found, expected in zip(on_the_line, straight(first, last, 0.3), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_look_takes_statistics_anew_and_leaves_the_network_as_it_was() -> None:
    given, network = samples(), normed()
    network[1].running_mean.fill_(100.0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    other = [3 * weight for weight in weights_of(network)]
    loss, right = look_at(network, other, given)
    expected = normed()
    for parameter, values in zip(expected.parameters(), other, strict=True):
        parameter.data.copy_(values)
    scores = expected(given.inputs)  # in training mode: the statistics of all
    assert loss == pytest.approx(cross_entropy(scores, given.labels).item(), rel=1e-5)
    hidden = expected[0](given.inputs)
    held_out = (expected[0](given.held_out) - hidden.mean(0)) / (hidden.var(0) + 1e-5).sqrt()
    answers = expected[3](torch.relu(held_out * expected[1].weight + expected[1].bias)).argmax(1)
    assert right == pytest.approx((answers == given.held_out_labels).float().mean().item())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


class Ring(nn.Module):
    """Two weights, whose scores are right on a circle around 0 alone: the straight line through it is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        height = 5 * (self.place.norm() - 1).square()
        return torch.stack([-height.expand(len(inputs)), torch.zeros(len(inputs))], dim=1)


def test_a_curve_bends_around_a_barrier() -> None:
    given = Samples(torch.zeros(8, 1), torch.zeros(8).long(), torch.zeros(8, 1), torch.zeros(8).long())
    ends = [torch.tensor([-1.0, 0.05])], [torch.tensor([1.0, 0.05])]
    network = Ring()
    theta = bend(network, ends, given, steps=300, rate=0.05, size=8, seed=0)
    ways = [
        max(look_at(network, way, given)[0] for way in points)
        for points in (
            [straight(*ends, t / 10) for t in range(11)],
            [bezier(ends[0], theta, ends[1], t / 10) for t in range(11)],
        )
    ]
    assert ways[0] > 4
    assert ways[1] < math.log(2) + 0.35
    assert not theta[0].requires_grad
    assert float(ends[0][0][0]) == -1


def test_a_plane_holds_its_three_points() -> None:
    torch.manual_seed(0)
    points = [[torch.randn(3, 2), torch.randn(4)] for _ in range(3)]
    plane = Plane.through(*points)
    places = [plane.place_of(point) for point in points]
    assert places[0] == pytest.approx((0, 0), abs=1e-6)
    assert places[1][1] == pytest.approx(0, abs=1e-5)
    assert places[2][1] > 0
    apart = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(points[1], points[2], strict=True)))
    assert math.dist(places[1], places[2]) == pytest.approx(apart, rel=1e-5)
    for point, place in zip(points, places, strict=True):
        for found, expected in zip(plane.point(*place), point, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
