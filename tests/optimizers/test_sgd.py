"""SGD: against a plain NumPy rewrite, closed answers on a bowl, and where torch's fused kernel goes wrong."""

import numpy as np
import pytest
import torch

from trainwell.core.shelves import optimizers
from trainwell.errors import OptionInvalid
from trainwell.optimizers.sgd import sgd


def rewrite(
    start: np.ndarray, gradients: np.ndarray, *, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> np.ndarray:
    theta, velocity = start.astype(np.float64), np.zeros_like(start, dtype=np.float64)
    for gradient in gradients:
        g = gradient + weight_decay * theta
        velocity = momentum * velocity + g
        theta = theta - lr * (g + momentum * velocity if nesterov else velocity)
    return theta


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)])
def test_it_equals_a_rewrite_in_float64(momentum: float, nesterov: bool, weight_decay: float) -> None:
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=7), generator.normal(size=(30, 7))
    options = {"lr": 0.05, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    weight = torch.tensor(start, requires_grad=True)
    optimizer = sgd([weight], **options)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), rewrite(start, gradients, **options), rtol=1e-12)


def test_the_fused_kernel_equals_torchs_plain_loop() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((3, 4), (5,), (2, 3, 3, 3))]
    twins = [weight.detach().clone().requires_grad_() for weight in weights]
    ours = sgd(weights, lr=0.1)
    plain = torch.optim.SGD(twins, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=False)
    assert all(group["fused"] for group in ours.param_groups)
    for _ in range(10):
        for weight, twin in zip(weights, twins, strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.clone()
        ours.step()
        plain.step()
    for weight, twin in zip(weights, twins, strict=True):
        torch.testing.assert_close(weight, twin, rtol=1e-6, atol=1e-6)


def test_a_constant_gradient_leads_to_the_terminal_velocity() -> None:
    """-lr * g / (1 - momentum): 100 times the plain step for momentum 0.99."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = sgd([weight], lr=0.01, momentum=0.99, nesterov=False, weight_decay=0.0)
    for _ in range(3000):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.item() - before == pytest.approx(-0.01 * 100, rel=1e-9)


def test_on_a_bowl_of_condition_100_the_best_momentum_shrinks_the_error_by_its_square_root_a_step() -> None:
    """Polyak: with lr = (2 / (1 + 10))^2 and momentum = (9 / 11)^2 the error falls like (9 / 11)^t."""
    curvature = torch.tensor([1.0, 100.0], dtype=torch.float64)
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = sgd([weight], lr=(2 / 11) ** 2, momentum=(9 / 11) ** 2, nesterov=False, weight_decay=0.0)
    errors = []
    for _ in range(200):
        weight.grad = curvature * weight.detach()
        optimizer.step()
        errors.append(weight.detach().norm().item())
    assert (errors[-1] / errors[49]) ** (1 / 150) == pytest.approx(9 / 11, abs=0.01)


def test_a_layer_that_thaws_in_mid_run_moves_as_if_its_velocity_had_been_zero() -> None:
    early, late = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    late.requires_grad_(False)
    optimizer = sgd([early, late], lr=0.1, weight_decay=0.0)
    for step in range(4):
        if step == 2:
            late.requires_grad_(True)
        early.grad = torch.ones_like(early)
        late.grad = torch.ones_like(late) if step >= 2 else None
        optimizer.step()
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}
    np.testing.assert_allclose(early.detach().numpy(), rewrite(np.ones(3), np.ones((4, 3)), **options), rtol=1e-12)
    np.testing.assert_allclose(late.detach().numpy(), rewrite(np.ones(3), np.ones((2, 3)), **options), rtol=1e-12)


def test_nesterov_without_momentum_is_refused_with_a_cure() -> None:
    with pytest.raises(OptionInvalid, match=r"sgd:nesterov .* momentum=0 .* \(usually 0.9\), or nesterov=false"):
        optimizers.build("sgd", {"momentum": 0.0}, params=[torch.zeros(1, requires_grad=True)])


def test_dampening_in_a_group_is_refused() -> None:
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(OptionInvalid, match=r"sgd:params: a group says dampening=0\.5"):
        sgd([{"params": [weight], "dampening": 0.5, "nesterov": False}])
