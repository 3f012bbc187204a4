"""Gradients that hold NaN or Inf are refused by the names of their parameters, before anything moves."""

import pytest
import torch

from trainwell.errors import NonFinite
from trainwell.optimizers.parameters import check_gradients, refuse_nonfinite_gradients
from trainwell.optimizers.sgd import sgd


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_step_is_refused_by_name_and_nothing_moves(value: float) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    optimizer = sgd(net.named_parameters())
    handle = refuse_nonfinite_gradients(optimizer)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    net(torch.ones(3, 2)).sum().backward()
    assert net[1].bias.grad is not None
    net[1].bias.grad.fill_(value)
    with pytest.raises(NonFinite, match=r"gradient of 1\.bias holds NaN or Inf"):
        optimizer.step()
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), before, strict=True))
    handle.remove()
    optimizer.step()
    assert not torch.isfinite(net[1].bias).all()


def test_parameters_without_names_are_named_by_their_place() -> None:
    fine, bad = (torch.ones(1, requires_grad=True) for _ in range(2))
    fine.grad, bad.grad = torch.ones(1), torch.tensor([float("nan")])
    with pytest.raises(NonFinite, match="parameter 0 of group 1"):
        check_gradients([{"params": [fine]}, {"params": [bad]}])


def test_large_finite_gradients_pass() -> None:
    weight = torch.ones(4, requires_grad=True)
    weight.grad = torch.full((4,), 3e38)  # whose square overflows
    check_gradients([{"params": [weight]}])
