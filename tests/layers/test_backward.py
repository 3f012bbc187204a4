"""The backward formulas of the papers against autograd, in float64 to 1e-10."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.layers.backward import (
    batch_norm_backward,
    batch_norm_forward,
    weight_norm_backward,
    weight_norm_forward,
)
from trainwell.layers.parametrize import weight_norm_


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_batch_norm_agrees_with_torch_and_its_autograd(epsilon: float) -> None:
    x, gamma, beta, dy = drawn(20, 6), drawn(6, seed=1), drawn(6, seed=2), drawn(20, 6, seed=3).detach()
    expected = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=epsilon)
    kept = batch_norm_forward(x.detach(), gamma.detach(), beta.detach(), epsilon=epsilon)
    torch.testing.assert_close(kept.outputs, expected, rtol=1e-10, atol=1e-10)
    by_autograd = torch.autograd.grad(expected, (x, gamma, beta), dy)
    for by_formula, right in zip(batch_norm_backward(dy, kept), by_autograd, strict=True):
        torch.testing.assert_close(by_formula, right, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_batch_norm_has_no_part_that_shifts_or_stretches_a_channel() -> None:
    x, dy = drawn(20, 6).detach(), drawn(20, 6, seed=3).detach()
    kept = batch_norm_forward(x, torch.ones(6).double(), torch.zeros(6).double(), epsilon=0.0)
    dx, _, _ = batch_norm_backward(dy, kept)
    zeros = torch.zeros(6, dtype=torch.float64)
    torch.testing.assert_close(dx.sum(0), zeros, rtol=0, atol=1e-12)
    torch.testing.assert_close((dx * kept.normalized).sum(0), zeros, rtol=0, atol=1e-12)


def test_weight_norm_agrees_with_torch_and_its_autograd() -> None:
    layer, inputs = nn.Linear(5, 4, bias=False).double(), drawn(9, 5)
    weight_norm_(layer)
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    with torch.no_grad():
        g.copy_(drawn(4, 1, seed=4))
    torch.testing.assert_close(weight_norm_forward(g[:, 0], v), layer.weight, rtol=1e-12, atol=1e-12)
    weight = layer.weight
    loss = functional.linear(inputs, weight).pow(3).sum()
    dw, right_g, right_v = torch.autograd.grad(loss, (weight, g, v))
    dg, dv = weight_norm_backward(dw, g.detach()[:, 0], v.detach())
    torch.testing.assert_close(dg, right_g[:, 0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dv, right_v, rtol=1e-10, atol=1e-10)


def test_the_gradient_for_v_is_orthogonal_to_v_so_that_a_step_only_lengthens_it() -> None:
    dw, g, v = drawn(4, 5).detach(), drawn(4, seed=1).detach(), drawn(4, 5, seed=2).detach()
    _, dv = weight_norm_backward(dw, g, v)
    torch.testing.assert_close((dv * v).sum(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-13)
    stepped = (v - 0.3 * dv).square().sum(1)
    torch.testing.assert_close(stepped, v.square().sum(1) + 0.09 * dv.square().sum(1), rtol=1e-12, atol=0)
