"""Batch norms go into the layer in front of them, and only where that changes nothing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.catalog import Card
from trainwell.core.shelves import models
from trainwell.models.fold import fold

FAMILIES = [card for card in models if not {"preset_of", "foreign"} & card.traits.keys()]


def lived(model: nn.Module) -> nn.Module:
    """Give every norm statistics and a scale of its own, some of them negative."""
    generator = torch.Generator().manual_seed(4)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.2, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.double()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def shape_for(card: Card) -> tuple[int, ...]:
    """Images that a network of the shelf takes."""
    return (3, *(max(side, card.traits.get("least_side", 1)) for side in (16, 12)))


def build(card: Card, **options: Any) -> nn.Module:
    """Build the small form of a network of the shelf."""
    shape = shape_for(card)
    facts: dict[str, Any] = {"input_shape": shape, "in_channels": 3, "in_features": math.prod(shape), "num_classes": 5}
    model: nn.Module = card.build({**card.traits.get("small", {}), **options}, **facts)
    return model


def check(model: nn.Module, example: Tensor, expected: int) -> None:
    """Fold, compare outputs on other samples in float64, and count."""
    lived(model)
    folded, count = fold(model, example)
    others = torch.randn(example.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        want, got = model.eval()(others), folded(others)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))
    assert count == expected
    assert norms(folded) == norms(model) - expected


@pytest.mark.parametrize("card", FAMILIES, ids=lambda card: card.name)
def test_every_network_of_the_shelf_answers_the_same_folded(card: Card) -> None:
    torch.manual_seed(0)
    shape = shape_for(card)
    model = lived(build(card)).eval()
    folded, count = fold(model, images(2, *shape))
    with torch.no_grad():
        want, got = model(images(6, *shape)), folded(images(6, *shape))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))
    assert count == norms(model) - norms(folded)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("card", FAMILIES, ids=lambda card: card.name)
def test_every_network_with_batch_norm_in_either_place_answers_the_same_folded(card: Card, order: str) -> None:
    if not card.traits.get("has_hidden_layers", True):
        return
    torch.manual_seed(0)
    shape = shape_for(card)
    model = lived(build(card, norm="batch", norm_order=order)).eval()
    folded, count = fold(model, images(2, *shape))
    others = torch.randn(6, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        want, got = model(others), folded(others)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))
    assert count == norms(model) - norms(folded)
    assert order == "after" or count > 0


@pytest.mark.parametrize("card", FAMILIES, ids=lambda card: card.name)
def test_weight_norm_is_multiplied_out_at_folding_and_the_given_network_keeps_it(card: Card) -> None:
    if not card.traits.get("has_hidden_layers", True):
        return
    torch.manual_seed(0)
    shape = shape_for(card)
    model = build(card, norm="weight").double().eval()
    model.start_on(images(8, *shape))
    folded, count = fold(model, images(2, *shape))
    with torch.no_grad():
        want, got = model(images(6, *shape)), folded(images(6, *shape))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))
    assert count == 0
    assert any("parametrizations" in name for name, _ in model.named_parameters())
    assert not any("parametrizations" in name for name, _ in folded.named_parameters())


def test_a_batch_norm_behind_a_layer_with_weight_norm_is_folded_too() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    check(nn.Sequential(layer, nn.BatchNorm2d(3)), images(2, 3, 4, 4), 1)


def test_all_norms_of_a_residual_network_are_folded() -> None:
    check(models.build("resnet20", in_channels=3, num_classes=4), images(2, 3, 8, 8), 19)


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), (2, 3, 9)),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False, padding=1), nn.BatchNorm2d(6, affine=False), (2, 4, 5, 6)),
        (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, eps=0.1), (2, 2, 4, 4, 4)),
        (nn.Linear(7, 5), nn.BatchNorm1d(5), (4, 7)),
    ],
    ids=["one dimension", "groups, no affine", "three dimensions", "dense"],
)
def test_each_kind_of_layer_takes_its_norm_in(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    check(nn.Sequential(layer, norm, nn.ReLU(inplace=True)), images(*shape), 1)


def test_the_given_network_stays_as_it_is_in_mode_and_weights() -> None:
    model = lived(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, _ = fold(model, images(1, 3, 4, 4))
    assert model.training
    assert not folded.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in folded.modules())


class Net(nn.Module):
    """A convolution and a norm, put together by a function."""

    def __init__(self, use: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.use = use
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.use(self, inputs)


def output_used_twice(net: Net, x: Tensor) -> Tensor:
    maps = net.conv(x)
    return net.norm(maps) + maps


def output_changed_in_place(net: Net, x: Tensor) -> Tensor:
    maps = net.conv(x)
    maps += 1
    return net.norm(maps)


def output_written_into(net: Net, x: Tensor) -> Tensor:
    maps = net.conv(x)
    maps[:, 0] = 0
    return net.norm(maps)


def layer_called_twice(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.conv(x)) + net.conv(x * 2)


def norm_called_twice(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.norm(net.conv(x)))


def something_between(net: Net, x: Tensor) -> Tensor:
    return net.norm(functional.relu(net.conv(x)))


def weights_used_elsewhere(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.conv(x)) * net.conv.weight.mean()


def norm_looked_into(net: Net, x: Tensor) -> Tensor:
    return net.norm(net.conv(x)) * net.norm.eps


def norm_first(net: Net, x: Tensor) -> Tensor:
    return net.conv(net.norm(x))


@pytest.mark.parametrize(
    "use",
    [
        output_used_twice, output_changed_in_place, output_written_into, layer_called_twice, norm_called_twice,
        something_between, weights_used_elsewhere, norm_looked_into, norm_first,
    ],
    ids=lambda use: use.__name__,
)  # fmt: skip
def test_where_anything_else_sees_the_pair_nothing_is_folded(use: Callable[[Net, Tensor], Tensor]) -> None:
    check(Net(use), images(2, 3, 6, 6), 0)


def test_asking_for_the_shape_of_an_output_is_no_use_of_it() -> None:
    def use(net: Net, x: Tensor) -> Tensor:
        maps = net.conv(x)
        assert maps.shape[1] == 3
        assert maps.dim() == 4
        return net.norm(maps)

    check(Net(use), images(2, 3, 6, 6), 1)


def test_a_norm_without_running_statistics_stays() -> None:
    check(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)), images(2, 3, 6, 6), 0)


def test_a_norm_over_the_steps_of_a_sequence_stays() -> None:
    check(nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(4)), images(2, 4, 7), 0)


def test_tied_weights_stay() -> None:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    check(nn.Sequential(first, nn.BatchNorm2d(3), second), images(2, 3, 4, 4), 0)


def test_a_layer_under_two_names_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    holder = nn.ModuleDict({"net": net, "alias": net[1]})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = holder

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.parts["alias"](self.parts["net"][0](x))
            return result

    check(Both(), images(2, 3, 4, 4), 0)


def test_weights_that_are_computed_anew_and_layers_with_hooks_stay() -> None:
    spectral = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3))
    check(spectral, images(2, 3, 4, 4), 0)
    hooked = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    hooked[0].register_forward_hook(lambda module, inputs, output: output * 2)
    check(hooked, images(2, 3, 4, 4), 0)


def test_where_rounding_would_be_blown_up_nothing_is_folded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3, eps=1e-30)).eval()
    steady = torch.full((2, 3, 6, 6), 0.7)  # a channel that never varied: its mean is its value, its variance none
    with torch.no_grad():
        model[1].running_mean.copy_(model[0](steady)[0, :, 0, 0])
    model[1].running_var.fill_(1e-24)
    folded, count = fold(model, steady)
    assert count == 0
    with torch.no_grad():
        assert torch.equal(folded(steady), model(steady))


def test_float32_weights_agree_to_their_rounding() -> None:
    model = lived(models.build("convnet", input_shape=(3, 16, 16), num_classes=4)).float().eval()
    folded, count = fold(model, images(2, 3, 16, 16).float())
    assert count == 6
    with torch.no_grad():
        want, got = model(images(5, 3, 16, 16).float()), folded(images(5, 3, 16, 16).float())
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))
