"""Penalties of the weights: closed forms, gradients, weight decay, and what they leave alone."""

import pytest
import torch
from torch import nn

from trainwell.regularization.weights import l1, l2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()


def test_l2_is_half_the_sum_of_squares_and_its_gradient_the_weight() -> None:
    model = network()
    value = l2(model, strength=0.3)()
    matrices = [model[0].weight, model[3].weight]
    assert value.item() == pytest.approx(0.15 * sum(float((w.detach() ** 2).sum()) for w in matrices), rel=1e-12)
    value.backward()
    for weight in matrices:
        torch.testing.assert_close(weight.grad, 0.3 * weight.detach(), rtol=1e-15, atol=0)


def test_l1_is_the_sum_of_sizes_and_its_gradient_the_sign_with_0_at_0() -> None:
    model = nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -0.5, 0.0]]))
    value = l1(model, strength=0.1)()
    assert value.item() == pytest.approx(0.25)
    value.backward()
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[0.1, -0.1, 0.0]]


@pytest.mark.parametrize("build", [l1, l2])
def test_biases_and_norms_are_left_alone_unless_asked_for(build: object) -> None:
    model = network()
    build(model)().backward()  # type: ignore[operator]
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["0.weight", "3.weight"]
    build(model, biases=True)().backward()  # type: ignore[operator]
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("build", [l1, l2])
def test_frozen_weights_are_left_out_and_thawed_ones_count(build: object) -> None:
    model = network().requires_grad_(False)
    penalty = build(model)  # type: ignore[operator]
    assert penalty().item() == 0
    model[0].weight.requires_grad_(True)
    assert penalty().item() > 0


def test_l2_is_the_coupled_weight_decay_of_torchs_sgd_over_50_steps() -> None:
    torch.manual_seed(1)
    inputs, targets = torch.randn(32, 3).double(), torch.randn(32, 2).double()
    found = []
    for decay in (0.0, 0.05):
        model = network()
        penalty = l2(model, strength=0.05)
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        for _ in range(50):
            optimizer.zero_grad()
            loss = (model(inputs) - targets).square().mean()
            (loss + penalty() if not decay else loss).backward()
            optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)
