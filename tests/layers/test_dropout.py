"""Dropout against its closed forms: what is kept, and what it is scaled to."""

import math

import pytest
import torch
from torch import nn

from trainwell.errors import OptionInvalid
from trainwell.layers.dropout import dropout_for

# q, a, b of TECHNIQUES 2.1, printed to ten digits from the closed form.
PUBLISHED = [
    (0.95, 0.9548444760, 0.0839355722),
    (0.9, 0.9212845162, 0.1619709701),
    (0.8, 0.8789035834, 0.3090399621),
    (0.5, 0.8864048947, 0.7791939305),
]
LOWEST = -1.0507009873554805 * 1.6732632423543772


@pytest.mark.parametrize(("kept", "a", "b"), PUBLISHED)
@pytest.mark.parametrize("spatial_dims", [0, 2])
def test_alpha_dropout_has_the_published_constants(kept: float, a: float, b: float, spatial_dims: int) -> None:
    assert a == pytest.approx((kept + LOWEST**2 * kept * (1 - kept)) ** -0.5, abs=1e-10)
    assert b == pytest.approx(-a * (1 - kept) * LOWEST, abs=1e-9)
    torch.manual_seed(0)
    inputs = torch.randn(2_000, 30, *[2, 3][:spatial_dims], dtype=torch.float64)
    outputs = dropout_for("selu", 1 - kept, spatial_dims)(inputs)
    is_dropped = torch.isclose(outputs, torch.tensor(a * LOWEST + b, dtype=torch.float64), rtol=0, atol=1e-7)
    torch.testing.assert_close(outputs[~is_dropped], a * inputs[~is_dropped] + b, rtol=1e-7, atol=1e-7)
    share = is_dropped.double().mean().item()  # of at least 60,000 independent draws: 6 deviations, 2e-9 of cases
    assert abs(share - (1 - kept)) < 6 * math.sqrt(kept * (1 - kept) / 60_000) + 1e-6


def test_alpha_dropout_keeps_mean_0_and_variance_1() -> None:
    """Of a million unit Gaussian draws: the bands are six deviations of each, missed in 2e-9 of cases."""
    torch.manual_seed(0)
    outputs = dropout_for("selu", 0.2, 0)(torch.randn(1_000, 1_000, dtype=torch.float64))
    fourth = outputs.pow(4).mean().item()
    assert abs(outputs.mean().item()) < 6e-3
    assert abs(outputs.var().item() - 1) < 6 * math.sqrt((fourth - 1) / 1e6)


def test_dropout_scales_what_it_keeps_by_one_over_the_share() -> None:
    torch.manual_seed(0)
    outputs = dropout_for("relu", 0.2, 0)(torch.ones(100, 100, dtype=torch.float64))
    assert set(outputs.unique().tolist()) == {0, 1.25}


def test_on_images_whole_maps_are_dropped() -> None:
    torch.manual_seed(0)
    maps = dropout_for("relu", 0.5, 2)(torch.ones(50, 20, 3, 3)).flatten(2)
    assert bool((maps.amin(2) == maps.amax(2)).all())
    assert set(maps.unique().tolist()) == {0, 2}


def test_in_evaluation_and_at_0_nothing_happens() -> None:
    inputs = torch.randn(5, 4)
    for activation in ("relu", "selu"):
        assert torch.equal(dropout_for(activation, 0.5, 0).eval()(inputs), inputs)
        assert type(dropout_for(activation, 0, 0)) is nn.Identity


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5])
def test_a_share_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(OptionInvalid, match=f"dropout must be a share from 0 to below 1, got {p}"):
        dropout_for("relu", p, 0)
