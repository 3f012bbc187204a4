"""Weight normalization: the same outputs, a start from data, and the way back."""

import copy

import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import DataInvalid, ModelInvalid
from trainwell.layers.parametrize import is_weight_normalized, remove_weight_norm_, start_weight_norm_, weight_norm_


def network() -> nn.Sequential:
    """Two convolutions and a dense layer with weight norm, a head without."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Dropout(0.5), nn.Conv2d(6, 4, 3, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 16, 5), nn.ReLU(), nn.Linear(5, 3),
    ).double()  # fmt: skip
    for index in (0, 3, 6):
        weight_norm_(net[index])
    return net


def images(count: int = 40) -> Tensor:
    drawn = torch.randn(count, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return 5 * drawn + 2


def test_every_unit_gives_mean_0_and_variance_1_on_the_first_batch() -> None:
    net, seen = network(), {}
    assert start_weight_norm_(net, images()) == 3
    for index in (0, 3, 6):
        net[index].register_forward_hook(lambda module, given, outputs, index=index: seen.update({index: outputs}))
    net.eval()(images())
    for index, outputs in seen.items():
        axes = (0,) if outputs.ndim == 2 else (0, 2, 3)
        variance, mean = torch.var_mean(outputs, axes, correction=0)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-12, atol=1e-12)
        if net[index].bias is not None:
            torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)


def test_length_and_bias_are_those_of_the_equation() -> None:
    """g = 1 / std(t) and b = -mean(t) / std(t), with t = v x / |v|."""
    layer = nn.Linear(6, 4).double()
    weight_norm_(layer)
    v = layer.parametrizations.weight.original1.detach().clone()
    inputs = torch.randn(30, 6, dtype=torch.float64) + 3
    start_weight_norm_(nn.Sequential(layer), inputs)
    t = inputs @ (v / v.norm(dim=1, keepdim=True)).T
    deviation = t.std(0, correction=0)
    torch.testing.assert_close(layer.parametrizations.weight.original0[:, 0], 1 / deviation, rtol=1e-10, atol=0)
    torch.testing.assert_close(layer.bias, -t.mean(0) / deviation, rtol=1e-10, atol=1e-12)
    assert torch.equal(layer.parametrizations.weight.original1, v)


def test_mode_and_hooks_are_as_before_the_start() -> None:
    net = network()
    net[2].eval()
    start_weight_norm_(net, images())
    assert net.training
    assert not net[2].training
    assert not any(module._forward_hooks for module in net.modules())


def test_removing_it_leaves_outputs_and_copies_as_they_are() -> None:
    net = network().eval()
    kept, before = copy.deepcopy(net), net(images())
    assert remove_weight_norm_(net) == 3
    torch.testing.assert_close(net(images()), before, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept(images()), before, rtol=0, atol=0)
    assert [type(net[index]) for index in (0, 3, 6)] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert not any(is_weight_normalized(module) for module in net.modules())
    assert {name for name, _ in net[0].named_parameters()} == {"weight", "bias"}
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in net.parameters())


def test_a_frozen_layer_stays_frozen() -> None:
    net = network().requires_grad_(False)
    remove_weight_norm_(net)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_layers_that_are_something_else_are_left_alone() -> None:
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))
    assert not is_weight_normalized(spectral)
    assert remove_weight_norm_(nn.Sequential(spectral, nn.Linear(3, 3))) == 0
    with pytest.raises(ModelInvalid, match="dense and convolutional layers, got ReLU"):
        weight_norm_(nn.ReLU())
    with pytest.raises(ModelInvalid, match="are computed from others already"):
        weight_norm_(spectral)


def test_a_unit_of_zeros_has_no_direction() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight[1])
    with pytest.raises(ModelInvalid, match="needs a direction, and a unit of this layer has only zeros"):
        weight_norm_(layer)


def test_bad_batches_are_refused_in_words() -> None:
    with pytest.raises(DataInvalid, match=r"0 gives NaN or Inf on the first batch"):
        start_weight_norm_(network(), images() * torch.nan)
    net = nn.Sequential(nn.Flatten(), nn.Linear(72, 3).double())
    weight_norm_(net[1])
    with pytest.raises(DataInvalid, match=r"3 of 3 units of 1 give the same for all 1 samples .* take a larger batch"):
        start_weight_norm_(net, images(1))
    with pytest.raises(DataInvalid, match=r"3 of 3 units of 1 give the same for all 9 samples"):
        start_weight_norm_(net, images(1).repeat(9, 1, 1, 1))
    with pytest.raises(DataInvalid, match="the first batch is empty"):
        start_weight_norm_(net, images(0))


def test_networks_that_it_cannot_start_are_refused_in_words() -> None:
    with pytest.raises(ModelInvalid, match="no layer of this network has weight norm"):
        start_weight_norm_(nn.Sequential(nn.Linear(2, 2)), torch.randn(5, 2))
    layer = nn.Linear(2, 2)
    weight_norm_(layer)
    with pytest.raises(ModelInvalid, match="0 is used twice in one pass"):
        start_weight_norm_(nn.Sequential(layer, nn.ReLU(), layer), torch.randn(5, 2))

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.used(inputs)
            return outputs

    net = Beside()
    weight_norm_(net.used)
    weight_norm_(net.spare)
    with pytest.raises(ModelInvalid, match="spare had no part in the pass"):
        start_weight_norm_(net, torch.randn(5, 2))
