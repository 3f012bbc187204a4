"""Clipping against torch's and a closed answer; early stopping epoch by epoch."""

import json
import math

import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from trainwell.errors import OptionInvalid
from trainwell.regularization import EarlyStopping, clip_gradient_norm


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


def epochs_until_stopped(watch: EarlyStopping, values: list[float]) -> int:
    for epoch, value in enumerate(values, 1):
        watch.update(value)
        if watch.is_exhausted:
            return epoch
    return 0


@pytest.mark.parametrize(("patience", "stops_after"), [(1, 3), (2, 4), (3, 7), (4, 8)])
def test_it_stops_after_that_many_epochs_in_a_row_without_improvement(patience: int, stops_after: int) -> None:
    losses = [1.0, 0.8, 0.9, 0.8, 0.7, 0.7, 0.8, 0.9] if patience < 3 else [1.0, 0.8, 0.9, 0.7, 0.7, 0.8, 0.9, 0.9]
    assert epochs_until_stopped(EarlyStopping(patience=patience), losses) == stops_after


def test_an_improvement_must_beat_the_best_by_more_than_min_delta() -> None:
    watch = EarlyStopping(patience=9, min_delta=0.25)
    assert [watch.update(value) for value in (1.0, 0.75, 0.5, 0.25, 0.2)] == [True, False, True, False, True]


def test_for_an_accuracy_larger_is_better() -> None:
    watch = EarlyStopping(patience=2, mode="max")
    assert [watch.update(value) for value in (0.5, 0.6, 0.6, 0.7)] == [True, True, False, True]
    assert watch.best == 0.7


def test_nan_is_never_the_best_also_not_at_first() -> None:
    watch = EarlyStopping(patience=2)
    assert [watch.update(value) for value in (math.nan, 5.0, math.nan, 6.0)] == [False, True, False, False]
    assert watch.is_exhausted


def test_its_state_goes_through_json_and_goes_on_alike() -> None:
    values = [1.0, 0.9, 0.95, 0.97, 0.85, 0.9, 0.91, 0.92]
    for cut in range(len(values)):
        first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
        for value in values[:cut]:
            first.update(value)
        second.load_state(json.loads(json.dumps(first.state())))
        for value in values[cut:]:
            assert first.update(value) == second.update(value)
            assert first.is_exhausted == second.is_exhausted


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="patience must be a whole number >= 1, got 0: leave it out to never stop"):
        EarlyStopping(patience=0)
    with pytest.raises(OptionInvalid, match=r"min_delta must be a number >= 0, got -0\.1"):
        EarlyStopping(patience=1, min_delta=-0.1)
    with pytest.raises(OptionInvalid, match="mode must be one of 'min', 'max', got 'least'"):
        EarlyStopping(patience=1, mode="least")  # type: ignore[arg-type]
