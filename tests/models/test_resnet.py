"""The CIFAR residual networks: published sizes, published weights' names, and the shortcut by hand."""

from pathlib import Path

import pytest
import torch

from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid, ShapeError
from trainwell.models.residual import PaddedIdentity
from trainwell.models.resnet import cifar_resnet

PUBLISHED = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


def parameter_count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("depth", "count"), PUBLISHED.items())
def test_the_parameter_counts_are_the_published_ones(depth: int, count: int) -> None:
    assert parameter_count(models.build(f"resnet{depth}", in_channels=3, num_classes=10)) == count
    assert parameter_count(cifar_resnet(3, 10, depth=depth)) == count


@pytest.mark.parametrize("depth", PUBLISHED)
def test_projected_shortcuts_add_2752_parameters(depth: int) -> None:
    projected = models.build(f"resnet{depth}", {"shortcut": "B"}, in_channels=3, num_classes=10)
    assert parameter_count(projected) == PUBLISHED[depth] + 2752  # 16*32 + 2*32 + 32*64 + 2*64


def test_the_parameter_names_are_torchvisions() -> None:
    names = set(dict(cifar_resnet(3, 10, depth=20, shortcut="B").named_parameters()))
    norm, layers = ("weight", "bias"), [f"layer{stage}.{unit}" for stage in (1, 2, 3) for unit in (0, 1, 2)]
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{part}" for part in norm)}
    expected |= {f"{layer}.conv{i}.weight" for layer in layers for i in (1, 2)}
    expected |= {f"{layer}.bn{i}.{part}" for layer in layers for i in (1, 2) for part in norm}
    expected |= {f"layer{stage}.0.downsample.0.weight" for stage in (2, 3)}
    expected |= {f"layer{stage}.0.downsample.1.{part}" for stage in (2, 3) for part in norm}
    assert names == expected


def test_a_depth_counts_the_layers_with_weights() -> None:
    kernels = [p for p in cifar_resnet(3, 10, depth=26).parameters() if p.ndim > 1]
    assert len(kernels) == 26


def test_the_padded_shortcut_keeps_every_second_pixel_between_zero_channels() -> None:
    images = torch.arange(1.0, 1 + 2 * 4 * 4).reshape(1, 2, 4, 4)
    skipped = PaddedIdentity(2, 4, stride=2)(images)
    assert skipped.shape == (1, 4, 2, 2)
    assert torch.equal(skipped[0, 1:3], images[0, :, [0, 2]][:, :, [0, 2]])
    assert not skipped[0, [0, 3]].any()


def test_a_unit_whose_branch_is_zero_passes_its_input_through() -> None:
    net = cifar_resnet(3, 10, depth=8).eval()
    for stage in (net.layer1, net.layer2, net.layer3):
        torch.nn.init.zeros_(stage[0].bn2.weight)
    maps = torch.rand(2, 16, 8, 8)
    assert torch.equal(net.layer1(maps), maps)
    assert torch.equal(net.layer2(maps), PaddedIdentity(16, 32, stride=2)(maps))


def test_a_whole_forward_equals_a_rewrite_with_plain_functions() -> None:
    """In evaluation mode, in float64, from the state dict alone."""
    functional = torch.nn.functional
    net = cifar_resnet(3, 7, depth=8, shortcut="B").double().eval()
    w = net.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        scaled = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    x = functional.conv2d(images, w["conv1.weight"], padding=1)
    x = norm(x, "bn1").clamp(min=0)
    for stage, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        y = functional.conv2d(x, w[f"{stage}.conv1.weight"], stride=stride, padding=1)
        y = norm(y, f"{stage}.bn1").clamp(min=0)
        y = norm(functional.conv2d(y, w[f"{stage}.conv2.weight"], padding=1), f"{stage}.bn2")
        if stride == 2:
            x = norm(functional.conv2d(x, w[f"{stage}.downsample.0.weight"], stride=2), f"{stage}.downsample.1")
        x = (x + y).clamp(min=0)
    expected = x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]
    torch.testing.assert_close(net(images), expected, rtol=1e-12, atol=1e-12)


def test_a_unit_with_its_norms_behind_the_activations_adds_to_an_untouched_skip() -> None:
    """y = x + bn2(act(conv2(bn1(act(conv1(x)))))): with a branch of zero even negative inputs pass through."""
    net = cifar_resnet(3, 10, depth=8, norm_order="after", activation="tanh").double().eval()
    unit, maps = net.layer1[0], torch.randn(2, 16, 8, 8, dtype=torch.float64)
    branch = unit.bn1(unit.conv1(maps).tanh())
    torch.testing.assert_close(unit(maps), maps + unit.bn2(unit.conv2(branch).tanh()), rtol=1e-12, atol=1e-12)
    torch.nn.init.zeros_(unit.bn2.weight)
    assert torch.equal(unit(maps), maps)


def test_maxout_of_a_unit_is_the_largest_piece_of_its_branch_on_top_of_the_skip() -> None:
    net = cifar_resnet(3, 10, depth=8, activation="maxout:pieces=3").double().eval()
    for stage, maps in ((net.layer1, torch.randn(2, 16, 8, 8)), (net.layer2, torch.randn(2, 16, 8, 8))):
        unit, maps = stage[0], maps.double()
        branch = unit.bn2(unit.conv2(unit.act1(unit.bn1(unit.conv1(maps)))))
        largest = branch.unflatten(1, (-1, 3)).amax(2)
        skip = maps if unit.downsample is None else unit.downsample(maps)
        torch.testing.assert_close(unit(maps), skip + largest, rtol=1e-12, atol=1e-12)


def test_learned_slopes_are_of_one_place_each() -> None:
    net = cifar_resnet(3, 10, depth=8, activation="prelu")
    slopes = [name for name, parameter in net.named_parameters() if parameter.ndim == 1 and "act" in name]
    assert slopes == ["act1.weight", *(f"layer{stage}.0.act{i}.weight" for stage in (1, 2, 3) for i in (1, 2))]


@pytest.mark.parametrize(("depth", "near"), [(21, "take 20 or 26"), (9, "take 8 or 14"), (55, "take 50 or 56")])
def test_a_depth_that_is_not_6n_plus_2_is_refused_with_the_nearest(depth: int, near: str) -> None:
    with pytest.raises(OptionInvalid, match=rf"6n \+ 2 .* got {depth}: {near}"):
        models.build("cifar_resnet", {"depth": depth}, in_channels=3, num_classes=10)


def test_a_shortcut_that_does_not_exist_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="resnet20:shortcut must be one of 'A', 'B', 'C', 'pooled', got 'D'"):
        models.build("resnet20", {"shortcut": "D"}, in_channels=3, num_classes=10)


def test_wrong_inputs_are_refused_with_a_cure() -> None:
    net = cifar_resnet(3, 10, depth=8)
    with pytest.raises(ShapeError, match=r"resnet8 needs images of at least 4x4 pixels, got 3x9"):
        net(torch.zeros(1, 3, 3, 9))
    with pytest.raises(ShapeError, match=r"built for 3 channels, got 1 .* in_channels=1"):
        net(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ShapeError, match=r"takes images \(N, C, H, W\), got \(3, 8, 8\)"):
        net(torch.zeros(3, 8, 8))


def test_any_image_size_gives_scores() -> None:
    net = cifar_resnet(1, 5, depth=8).eval()
    assert [tuple(net(torch.zeros(2, 1, h, w)).shape) for h, w in ((4, 4), (7, 33), (64, 48))] == [(2, 5)] * 3


def test_foreign_resnet20_weights_load_unchanged_but_for_the_heads_name(data_folder: Path) -> None:
    """Idelbayev's; with them our net scores 81.0 % on the recompressed CIFAR-10, as their own code does."""
    stored = torch.load(data_folder / "resnet20-12fca82f.th", weights_only=True, map_location="cpu")["state_dict"]
    weights = {name.removeprefix("module.").replace("linear", "fc"): value for name, value in stored.items()}
    models.build("resnet20", in_channels=3, num_classes=10).load_state_dict(weights, strict=True)
