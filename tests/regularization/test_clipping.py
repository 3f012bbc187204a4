"""Clipping against torch's and a closed answer."""

import math

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from trainwell.errors import OptionInvalid
from trainwell.regularization import clip_gradient_norm


def weights(scale: float = 1.0) -> list[torch.Tensor]:
    torch.manual_seed(0)
    params = [torch.zeros(shape, requires_grad=True) for shape in ((3, 4), (5,), (2, 3, 3, 3))]
    for parameter in params:
        parameter.grad = scale * torch.randn_like(parameter)
    return [*params, torch.zeros(2, requires_grad=True)]  # the last one has no gradient


def test_it_returns_the_norm_and_scales_like_torch() -> None:
    ours, theirs = weights(), weights()
    norm, known = clip_gradient_norm(ours, 0.5), clip_grad_norm_(theirs, 0.5)
    torch.testing.assert_close(norm, known)
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)
    assert ours[-1].grad is None


def test_the_clipped_norm_is_the_bound_and_the_direction_is_kept() -> None:
    params, before = weights(), weights()
    clip_gradient_norm(params, 0.5)
    clipped = torch.cat([p.grad.flatten() for p in params[:-1]])
    whole = torch.cat([p.grad.flatten() for p in before[:-1]])
    assert clipped.norm().item() == pytest.approx(0.5, rel=1e-6)
    assert torch.cosine_similarity(clipped, whole, dim=0).item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 0.0])
def test_gradients_within_the_bound_keep_every_bit(scale: float) -> None:
    params, before = weights(scale), weights(scale)
    clip_gradient_norm(params, 0.5)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(params[:-1], before[:-1], strict=True))


def test_a_nan_is_not_hidden() -> None:
    params = weights()
    params[0].grad[0, 0] = math.nan
    assert clip_gradient_norm(params, 0.5).isnan()
    assert params[1].grad.isnan().all()


def test_without_any_gradient_the_norm_is_zero() -> None:
    assert clip_gradient_norm([torch.zeros(2, requires_grad=True)], 1.0).item() == 0


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(max_norm: float) -> None:
    with pytest.raises(OptionInvalid, match=r"max_norm must be a number > 0, got .*usual are 0.5 to 5"):
        clip_gradient_norm(weights(), max_norm)
