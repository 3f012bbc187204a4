"""Newton's method: exact on quadratics, quadratic convergence, and downhill from saddles."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.newton import Newton


def quadratic() -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, b = root @ root.T + 0.1 * torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    return [torch.ones(n, dtype=torch.float64, requires_grad=True) for n in (2, 4)], matrix, b


@pytest.mark.parametrize("curvature", ["absolute", "signed"])
def test_a_quadratic_is_solved_in_one_step(curvature: str) -> None:
    parameters, matrix, b = quadratic()

    def closure() -> tuple[Tensor, Tensor]:
        x = torch.cat(parameters)
        return x @ matrix @ x / 2 - b @ x, x

    Newton(parameters, damping=0.0, curvature=curvature).step(closure)
    found = torch.cat(parameters).detach()
    torch.testing.assert_close(found, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)


def test_damping_and_decay_stand_on_the_diagonal() -> None:
    parameters, matrix, b = quadratic()
    groups = [
        {"params": parameters[:1], "weight_decay": 0.5, "damping": 2.0},
        {"params": parameters[1:], "weight_decay": 0.0, "damping": 3.0, "lr": 0.5},
    ]

    def closure() -> Tensor:
        x = torch.cat(parameters)
        return x @ matrix @ x / 2 - b @ x

    Newton(groups).step(closure)
    start = torch.ones(6, dtype=torch.float64)
    decays = torch.tensor([0.5] * 2 + [0.0] * 4, dtype=torch.float64)
    dampings, rates = torch.tensor([2.0] * 2 + [3.0] * 4), torch.tensor([1.0] * 2 + [0.5] * 4)
    step = -torch.linalg.solve(matrix + torch.diag(decays + dampings), matrix @ start - b + decays * start)
    torch.testing.assert_close(torch.cat(parameters).detach(), start + rates * step, rtol=1e-9, atol=1e-9)


def test_it_goes_the_way_of_scipys_derivatives_on_rosenbrocks_valley() -> None:
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    theirs = np.array([-1.2, 1.0])
    optimizer = Newton([x], damping=0.0, curvature="signed")
    for _ in range(6):
        optimizer.step(lambda: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)
        theirs = theirs - np.linalg.solve(scipy.optimize.rosen_hess(theirs), scipy.optimize.rosen_der(theirs))
        np.testing.assert_allclose(x.detach().numpy(), theirs, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(theirs, 1, atol=1e-6)


def test_signed_goes_to_a_saddle_and_absolute_leaves_it() -> None:
    ends = []
    for curvature in ("signed", "absolute"):
        x = torch.tensor([1.0, 0.1], dtype=torch.float64, requires_grad=True)
        optimizer = Newton([x], damping=0.0, curvature=curvature)
        optimizer.step(lambda x=x: x[0] ** 2 - x[1] ** 2)
        ends.append(x.detach())
    torch.testing.assert_close(ends[0], torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(ends[1], torch.tensor([0.0, 0.2], dtype=torch.float64))


def test_logistic_regression_ends_with_a_vanishing_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    net = nn.Linear(4, 3).double()
    inputs, labels = torch.randn(60, 4, generator=generator, dtype=torch.float64), torch.arange(60) % 3
    optimizer = Newton(net.parameters(), damping=1e-10)

    def closure() -> tuple[Tensor, Tensor]:
        outputs = net(inputs)
        return functional.cross_entropy(outputs, labels), outputs

    for _ in range(8):
        optimizer.step(closure)
    gradients = torch.autograd.grad(closure()[0], list(net.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-12


def test_a_group_that_is_refused_is_not_kept() -> None:
    weight = torch.tensor([5.0, -3.0], requires_grad=True)
    optimizer = Newton([weight], damping=0.0)
    cases = [
        (torch.ones(9_999, requires_grad=True), "newton keeps the Hessian of all parameters.*got 10,001"),
        (torch.ones(1, dtype=torch.float64, requires_grad=True), "of one type on one device.*float32.*float64 on cpu"),
        (torch.ones(1, device="meta", requires_grad=True), "of one type on one device.*on cpu.*on meta"),
    ]
    for other, words in cases:
        for params in ([other], [("head.weight", other)], other):
            with pytest.raises(OptionInvalid, match=words):
                optimizer.add_param_group({"params": params})
    assert [group["params"] for group in optimizer.param_groups] == [[weight]]
    optimizer.step(lambda: (weight * torch.tensor([1.0, 10.0])).square().sum())
    assert torch.equal(weight, torch.zeros(2))


def test_the_count_of_all_groups_is_said() -> None:
    groups = [{"params": [torch.ones(6_000, requires_grad=True)]} for _ in range(3)]
    with pytest.raises(OptionInvalid, match="got 18,000"):
        Newton(groups)


def test_what_it_cannot_do_is_refused_in_words() -> None:
    with pytest.raises(OptionInvalid, match=r"at most 10,000, got 10,100: they would take 0.4 GiB; take hessian_free"):
        Newton(nn.Linear(100, 100).parameters())
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(OptionInvalid, match="newton needs the loss at several weights in a step, got no closure"):
        Newton([weight]).step()
    with pytest.raises(OptionInvalid, match="newton:closure must return a loss of one number with its graph"):
        Newton([weight]).step(lambda: weight * 2)
    with pytest.raises(OptionInvalid, match="newton:damping is 0, and the Hessian is singular here"):
        Newton([weight], damping=0.0).step(lambda: weight.sum() ** 2)
    with pytest.raises(NonFinite, match="newton: the gradient of parameter 0 of shape .2,. holds NaN or Inf"):
        Newton([weight]).step(lambda: (weight * float("nan")).sum())
    assert torch.equal(weight, torch.ones(2))


def test_by_its_default_it_goes_downhill_on_a_small_network() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(120, 6, generator=generator), torch.arange(120) % 3
    inputs += 2 * nn.functional.one_hot(labels, 6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = Newton(net.parameters())

    def closure() -> tuple[Tensor, Tensor]:
        outputs = net(inputs)
        return nn.functional.cross_entropy(outputs, labels), outputs

    losses = [float(optimizer.step(closure)) for _ in range(12)]
    assert losses[-1] < 0.25 * losses[0]
    assert all(after < 1.1 * before for before, after in itertools.pairwise(losses))
