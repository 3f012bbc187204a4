"""Claim 5: activations and gradients against autograd, expectations against a plain product."""

from itertools import pairwise

import pytest
import torch

from trainwell.lab.experiments.variance_by_depth import ARMS, BATCH, LAYERS, expected, measure


@pytest.mark.parametrize("arm", ["linear, k·var = 3/2", "ReLU, k·var = 2", "ReLU, unequal widths, k'·var = 2"])
def test_mean_squares_are_those_of_autograd(arm: str) -> None:
    settings = ARMS[arm]
    found = measure(settings, 2, True)
    generator, widths = torch.Generator().manual_seed(2), settings["widths"]
    is_relu = settings["activation"] == "relu"
    layers = [torch.randn(BATCH, widths[0], generator=generator).requires_grad_()]
    weights = []
    for below, above in pairwise(widths):
        fan = below if settings["fan"] == "in" else above
        scale = (settings["gain"] * (2 if is_relu else 1) / fan) ** 0.5
        # one copy of the weights for each sample, so that autograd gives the gradient of each sample
        weights.append((torch.randn(below, above, generator=generator) * scale).repeat(BATCH, 1, 1).requires_grad_())
        outputs = torch.einsum("nk,nkd->nd", layers[-1], weights[-1])
        layers.append(outputs.relu() if is_relu else outputs)
        layers[-1].retain_grad()
    layers[-1].backward(torch.randn(BATCH, widths[-1], generator=generator))
    gradients = [layer.grad for layer in layers]
    assert found["forward"] == pytest.approx([float(layer.detach().square().mean()) for layer in layers], rel=1e-4)
    assert found["backward"] == pytest.approx([float(grad.square().mean()) for grad in gradients], rel=1e-4)
    squares = [float(each.grad.square().mean()) for each in weights]
    assert found["weight gradient"] == pytest.approx(squares, rel=1e-4)


def test_expectations_are_powers_of_the_gain() -> None:
    linear = expected(ARMS["linear, k·var = 2/3"])
    assert linear["forward"][-1] == pytest.approx((2 / 3) ** LAYERS)
    assert linear["backward"][0] == pytest.approx((2 / 3) ** LAYERS)
    assert linear["weight gradient"] == pytest.approx([(2 / 3) ** (LAYERS - 1)] * LAYERS)
    unequal = expected(ARMS["ReLU, unequal widths, k·var = 2"])
    assert unequal["forward"] == pytest.approx([1.0] * (LAYERS + 1))
    assert unequal["backward"] == pytest.approx([1.0, 2.0] * (LAYERS // 2) + [1.0])
