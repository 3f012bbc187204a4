"""Weight normalization: the network against torch's, the law against a step worked out by hand."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from trainwell.lab.experiment import Table
from trainwell.lab.experiments.weight_norm_growth import DECAYED, PLAIN, held, judge, scores, start


def test_scores_and_gradients_are_those_of_torchs_weight_normalization() -> None:
    parameters = start(0)
    v1, _, _, v2, _, _ = parameters
    layers = [weight_norm(nn.Linear(v.shape[1], v.shape[0], dtype=torch.float64)) for v in (v1, v2)]
    with torch.no_grad():
        for layer, v in zip(layers, (v1, v2), strict=True):
            layer.parametrizations.weight.original0.fill_(1.0)
            layer.parametrizations.weight.original1.copy_(v)
            layer.bias.zero_()
    inputs = torch.rand(5, 64, dtype=torch.float64)
    ours, theirs = scores(parameters, inputs), layers[1](torch.relu(layers[0](inputs)))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(ours.square().sum(), (v1, v2))
    theirs.square().sum().backward()
    for gradient, layer in zip(gradients, layers, strict=True):
        torch.testing.assert_close(gradient, layer.parametrizations.weight.original1.grad, rtol=1e-10, atol=1e-12)


def test_the_law_holds_for_an_orthogonal_step_and_not_for_another() -> None:
    before = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    orthogonal = torch.tensor([[-4.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    cosine, off, growth = held(before, before - 0.5 * orthogonal, orthogonal, 0.5)
    assert (cosine, off, growth) == (0, pytest.approx(0, abs=1e-15), 0)
    along = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    cosine, off, growth = held(before, before - 0.5 * along, along, 0.5)
    assert cosine == pytest.approx(1)
    assert off == pytest.approx((25 * 1.25 - 25 / 4) / (25 * 1.25))
    assert growth == pytest.approx(-0.5)


def test_a_tiny_gradient_has_no_direction() -> None:
    before = torch.ones(1, 2, dtype=torch.float64)
    assert held(before, before, torch.full((1, 2), 1e-300, dtype=torch.float64), 1.0)[0] == 0


def test_a_length_that_shrinks_is_judged_so() -> None:
    row = {
        "largest grad_v . v, relative": 1e-15,
        "largest deviation from the law": 1e-15,
        "smallest growth in a step": 0.0,
    }
    cells = {arm: [dict(row)] for arm in PLAIN} | {DECAYED: [{**row, "smallest growth in a step": -0.01}]}
    assert all(check.holds for check in judge(Table(cells)))
    cells[next(iter(PLAIN))][0]["smallest growth in a step"] = -1e-6
    cells[DECAYED][0]["smallest growth in a step"] = 0.0
    assert sum(not check.holds for check in judge(Table(cells))) == 2
