"""Each norm against its equation in float64, against torch, and in what it refuses."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import ModelInvalid, NameUnknown, ShapeError
from trainwell.layers.choosing import make_norm

MAPS = torch.randn(6, 8, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1
ROWS = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3 + 1


def made(choice: str, spatial_dims: int) -> nn.Module:
    """The norm with scale and shift of its own, in float64."""
    module = make_norm(choice, 8, spatial_dims).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(8, generator=generator, dtype=torch.float64))
    return module


def by_equation(module: nn.Module, inputs: Tensor, axes: tuple[int, ...], groups: int | None = None) -> np.ndarray:
    """gamma (x - mean) / sqrt(var + epsilon) + beta in NumPy, over some axes, maybe of groups."""
    x = inputs.numpy()
    grouped = x if groups is None else x.reshape(len(x), groups, -1, *x.shape[2:])
    mean, variance = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
    normalized = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    shape = (1, 8, *[1] * (x.ndim - 2))
    gamma, beta = (module.get_parameter(name).detach().numpy().reshape(shape) for name in ("weight", "bias"))
    return np.asarray(gamma * normalized + beta)


@pytest.mark.parametrize(
    ("choice", "spatial_dims", "axes", "groups"),
    [
        ("batch", 0, (0,), None), ("batch", 2, (0, 2, 3), None), ("layer", 0, (1,), None),
        ("layer", 2, (1, 2, 3), None),
        ("instance", 2, (2, 3), None), ("group:groups=2", 0, (2,), 2), ("group:groups=4", 2, (2, 3, 4), 4),
    ],
)  # fmt: skip
def test_it_computes_its_equation(choice: str, spatial_dims: int, axes: tuple[int, ...], groups: int | None) -> None:
    module, inputs = made(choice, spatial_dims), MAPS if spatial_dims else ROWS
    np.testing.assert_allclose(
        module(inputs).detach().numpy(), by_equation(module, inputs, axes, groups), rtol=1e-10, atol=1e-10
    )


def test_they_are_torchs_own() -> None:
    pairs = {
        "layer": (functional.layer_norm(MAPS, MAPS.shape[1:]), 2),
        "instance": (functional.instance_norm(MAPS), 2),
        "group:groups=4": (functional.group_norm(MAPS, 4), 2),
        "batch": (functional.batch_norm(MAPS, None, None, training=True), 2),
        "local_response": (functional.local_response_norm(MAPS, 5, alpha=5e-4, beta=0.75, k=2.0), 2),
        "local_response:size=4,alpha=0.5,beta=0.6,k=1": (functional.local_response_norm(MAPS, 4, 0.5, 0.6, 1.0), 2),
        "local_response:size=1": (functional.local_response_norm(MAPS, 1, alpha=5e-4, beta=0.75, k=2.0), 2),
    }
    for choice, (expected, spatial_dims) in pairs.items():
        outputs = make_norm(choice, 8, spatial_dims).double()(MAPS)
        torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)


def test_local_response_is_alexnets_equation_one_neighbour_at_a_time() -> None:
    """Krizhevsky 2012, section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, with alpha not divided by n."""
    x, expected = MAPS.numpy() * 100, np.empty((6, 8, 5, 3))
    for channel in range(8):
        near = x[:, max(0, channel - 2) : min(8, channel + 3)]
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    outputs = make_norm("local_response", 8, 2)(MAPS * 100)
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-10)
    features = make_norm("local_response", 8, 0)(MAPS[:, :, 0, 0] * 100)
    np.testing.assert_allclose(features.numpy(), expected[:, :, 0, 0], rtol=1e-10)


def test_running_statistics_take_a_share_of_the_newest_batch_with_the_unbiased_variance() -> None:
    """1, 2, 4 have variance 14/9 in the batch, which normalizes, and 7/3 in the running statistics."""
    module = make_norm("batch:momentum=0.25", 1, 0).double()
    outputs = module(torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64))
    assert module.running_mean.item() == pytest.approx(0.25 * 7 / 3)
    assert module.running_var.item() == pytest.approx(0.75 + 0.25 * 7 / 3)
    assert outputs[0].item() == pytest.approx((1 - 7 / 3) / (14 / 9 + 1e-5) ** 0.5)
    module.eval()
    mean, variance = module.running_mean.item(), module.running_var.item()
    assert module(torch.zeros(1, 1, dtype=torch.float64)).item() == pytest.approx(-mean / (variance + 1e-5) ** 0.5)


def test_batch_norm_does_not_see_the_scale_of_the_weights_in_front_of_it() -> None:
    weight, inputs = torch.randn(8, 5, dtype=torch.float64, requires_grad=True), torch.randn(9, 5, dtype=torch.float64)
    module = make_norm("batch:epsilon=1e-30", 8, 0).double()
    outputs, gradients = [], []
    for scale in (1.0, 7.0):
        wide = (scale * weight).detach().requires_grad_()
        outputs.append(module(inputs @ wide.T))
        (gradient,) = torch.autograd.grad(outputs[-1].pow(3).sum(), wide)
        gradients.append(gradient)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(7 * gradients[1], gradients[0], rtol=1e-8, atol=1e-8)


def test_group_norm_reaches_from_layer_norm_to_instance_norm() -> None:
    for groups, other in ((1, "layer"), (8, "instance")):
        one, two = make_norm(f"group:groups={groups}", 8, 2).double(), make_norm(other, 8, 2).double()
        torch.testing.assert_close(one(MAPS), two(MAPS), rtol=1e-12, atol=1e-12)


def test_a_number_of_groups_that_does_not_divide_is_refused_and_lowered_only_where_asked() -> None:
    with pytest.raises(
        ModelInvalid, match=r"channels that 32 groups divide, got 24: write group:groups=24, or group:at_"
    ):
        make_norm("group", 24, 2)
    with pytest.raises(ModelInvalid, match=r"4 groups divide, got 6: write group:groups=3"):
        make_norm("group:groups=4", 6, 2)
    assert make_norm("group:at_most=true", 48, 2).num_groups == 24
    assert make_norm("group:groups=4,at_most=true", 6, 2).num_groups == 3
    assert make_norm("group:at_most=true", 64, 2).num_groups == 32


def test_without_scale_and_shift_there_are_no_weights() -> None:
    for choice in ("batch", "layer", "instance", "group:groups=2"):
        name, _, options = choice.partition(":")
        module = make_norm(f"{name}:{options}{',' if options else ''}affine=false", 8, 2)
        assert list(module.parameters()) == []


def test_a_single_value_to_normalize_is_refused_in_words() -> None:
    norm = make_norm("batch", 3, 2)
    with pytest.raises(
        ShapeError, match=r"more than one value a channel, got inputs \(1, 3, 1, 1\): a single sample has"
    ):
        norm(torch.zeros(1, 3, 1, 1))
    assert norm(torch.zeros(1, 3, 1, 2)).shape == (1, 3, 1, 2)
    assert norm.eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 3, 1, 1)
    with pytest.raises(ShapeError, match=r"has one value a group in inputs \(2, 3, 1, 1\), .* take larger images"):
        make_norm("instance", 3, 2)(torch.zeros(2, 3, 1, 1))
    with pytest.raises(ModelInvalid, match=r"over 1 of 3 channels of features \(N, C\) has a single value"):
        make_norm("group:groups=3", 3, 0)


def test_instance_norm_of_features_and_unknown_norms_are_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"instance norm needs images \(N, C, H, W\).* take layer or batch"):
        make_norm("instance", 3, 0)
    with pytest.raises(NameUnknown, match="no norm is called 'bach': did you mean 'batch'"):
        make_norm("bach", 3, 0)


def test_no_norm_and_a_norm_of_the_weights_stand_nowhere_themselves() -> None:
    assert type(make_norm("none", 3, 0)) is type(make_norm("weight", 3, 2)) is nn.Identity
