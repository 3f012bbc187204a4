"""Points and hidden units: the side-by-side networks against torch's own modules, and weights that are known to do."""

import pytest
import torch
from torch import nn

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.need_for_hidden_units import HIDDEN, draw, judge, logits, size, train


def test_a_network_is_that_of_torchs_modules() -> None:
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
    weights = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    points = torch.randn(7, 2)
    assert len(weights) == size(5)
    torch.testing.assert_close(logits(weights[None], points, 5)[0], net(points).squeeze(1).detach())
    line = nn.Linear(2, 1)
    weights = torch.cat([parameter.detach().flatten() for parameter in line.parameters()])
    torch.testing.assert_close(logits(weights[None], points, 0)[0], line(points).squeeze(1).detach())


def test_three_units_that_cut_off_a_triangle_separate_the_circles() -> None:
    """Steep units along the sides of a triangle with inner radius 0.75 and corners outside the outer circle."""
    angles = torch.tensor([0.5, 7 / 6, 11 / 6]) * torch.pi
    first = 8 * torch.stack([angles.cos(), angles.sin()], dim=1)
    weights = torch.cat([-first.flatten(), torch.full((3,), 8 * 0.72), torch.full((3,), 4.0), torch.tensor([-8.0])])
    points, labels = draw("circles", 0)
    right = (logits(weights[None], points, 3)[0] > 0) == (labels > 0.5)
    assert right.float().mean() > 0.85


def test_training_finds_a_line_where_one_separates() -> None:
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    labels = (points.sum(dim=1) > 0).float()
    weights = train(points, labels, 0, 200, 0)
    assert ((logits(weights[None], points, 0)[0] > 0) == (labels > 0.5)).float().mean() > 0.98


@pytest.mark.parametrize("kind", HIDDEN)
def test_both_classes_are_equally_frequent(kind: str) -> None:
    assert draw(kind, 0)[1].mean() == 0.5


def test_a_line_that_separates_and_a_network_that_does_not_are_judged_so() -> None:
    cells = {f"{kind}, no hidden": [{"accuracy": 0.5}] for kind in HIDDEN}
    cells |= {f"{kind}, {count} hidden": [{"accuracy": 1.0}] for kind, count in HIDDEN.items()}
    assert all(check.holds for check in judge(Table(cells)))
    cells["circles, no hidden"] = [{"accuracy": 0.5}, {"accuracy": 0.7}]
    cells[f"xor, {HIDDEN['xor']} hidden"] = [{"accuracy": 0.75}]
    assert [check.claim for check in judge(Table(cells)) if not check.holds] == [
        "circles, no hidden layer",
        f"xor, one layer of {HIDDEN['xor']}",
    ]
