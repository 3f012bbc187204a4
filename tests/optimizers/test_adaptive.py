"""AdamW: against a plain NumPy rewrite of the paper, and its first step in closed form."""

import numpy as np
import pytest
import torch

from trainwell.optimizers.adaptive import adamw


def test_it_equals_a_rewrite_in_float64_also_where_eps_matters() -> None:
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=7), generator.normal(size=(40, 7)) * 1e-3
    weight = torch.tensor(start, requires_grad=True)
    optimizer = adamw([weight], lr=0.01, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1)
    theta, m, v = start.copy(), np.zeros(7), np.zeros(7)
    for t, g in enumerate(gradients, 1):
        weight.grad = torch.tensor(g)
        optimizer.step()
        theta = theta * (1 - 0.01 * 0.1)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        theta = theta - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
    np.testing.assert_allclose(weight.detach().numpy(), theta, rtol=1e-11)


def test_the_first_step_is_lr_against_the_sign_of_the_gradient() -> None:
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor([1e-4, -7.0, 1e5], dtype=torch.float64)
    adamw([weight], lr=0.25, weight_decay=0.0).step()
    np.testing.assert_allclose(weight.detach().numpy(), [-0.25, 0.25, -0.25], rtol=1e-3)


def test_decay_is_decoupled_from_the_gradient() -> None:
    """With gradient 0, only lr * weight_decay acts: theta * (1 - 0.1 * 0.5)."""
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    adamw([weight], lr=0.1, weight_decay=0.5).step()
    assert weight.item() == pytest.approx(0.95)


def test_the_fused_kernel_equals_torchs_plain_loop() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((3, 4), (5,), (2, 3, 3, 3))]
    twins = [weight.detach().clone().requires_grad_() for weight in weights]
    ours, plain = adamw(weights, weight_decay=0.1), torch.optim.AdamW(twins, lr=1e-3, weight_decay=0.1, foreach=False)
    assert all(group["fused"] for group in ours.param_groups)
    for _ in range(10):
        for weight, twin in zip(weights, twins, strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.clone()
        ours.step()
        plain.step()
    for weight, twin in zip(weights, twins, strict=True):
        torch.testing.assert_close(weight, twin, rtol=1e-5, atol=1e-6)
