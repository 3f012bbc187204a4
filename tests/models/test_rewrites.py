"""Whole networks equal their rewrites with plain functions from the state dict, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.core.shelves import models

from . import rewrites
from .rewrites import images, lived_in, relu


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return lived_in(models.build(name, options, in_channels=3, num_classes=7))


def check(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet", {"depth": 18}),
        ("resnet", {"depth": 34, "shortcut": "A"}),
        ("resnet", {"depth": 50}),
        ("resnet", {"depth": 50, "stride_at": "first"}),
        ("resnet", {"depth": 18, "shortcut": "C"}),
        ("resnet", {"depth": 18, "shortcut": "pooled"}),
        ("resnet", {"depth": 50, "bottleneck_width": 2}),
        ("resnet", {"depth": 18, "stem": "small"}),
        ("cifar_resnet", {"depth": 20}),
        ("cifar_resnet", {"depth": 11, "unit": "bottleneck", "shortcut": "B"}),
        ("cifar_resnet", {"depth": 8, "shortcut": "C"}),
    ],
)
@torch.no_grad()
def test_residual_networks(name: str, options: dict[str, Any]) -> None:
    net, batch = build(name, width=8, **options), images(2, 3, 64, 64)
    how = {key: value for key, value in options.items() if key in ("stride_at", "shortcut")}
    check(net(batch), rewrites.resnet(net.state_dict(), batch, **how))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("densenet121", {}),
        ("densenet", {"layers": (3, 2), "growth": 8, "stem": "small"}),
        ("densenet", {"layers": (3, 2), "growth": 8, "checkpointing": True}),
        ("cifar_densenet", {"depth": 16, "growth": 8}),
        ("cifar_densenet", {"depth": 13, "growth": 8, "bottleneck": False, "compression": 1.0}),
    ],
)
@torch.no_grad()
def test_densely_connected_networks(name: str, options: dict[str, Any]) -> None:
    net, batch = build(name, **options), images(2, 3, 64, 64)
    check(net(batch), rewrites.densenet(net.state_dict(), batch))


@torch.no_grad()
def test_googlenet_and_its_auxiliary_classifiers() -> None:
    net, batch, read = build("googlenet", width=16), images(2, 3, 96, 96), {}
    check(net(batch), rewrites.googlenet(net.state_dict(), batch, read))
    assert net.auxiliary_scores == ()
    net.training = True  # of the network alone: norms and dropout stay as they are in evaluation
    net(batch)
    assert [weight for weight, _ in net.auxiliary_scores] == [0.3, 0.3]
    for (_, scores), name in zip(net.auxiliary_scores, ("aux1", "aux2"), strict=True):
        check(scores, read[name])


@pytest.mark.parametrize(
    "options",
    [{"depth": 14}, {"depth": 11, "unit": "bottleneck"}, {"depth": 11, "unit": "bottleneck", "stride_at": "middle"}],
)
@torch.no_grad()
def test_pre_activation_networks(options: dict[str, Any]) -> None:
    net, batch = build("preact", **options), images(2, 3, 16, 16)
    check(net(batch), rewrites.preact(net.state_dict(), batch, stride_at=options.get("stride_at", "first"))[0])


@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_pre_activation_networks_for_photographs(depth: int) -> None:
    net, batch = build("preact_resnet", depth=depth, width=8), images(2, 3, 64, 65)
    check(net(batch), rewrites.preact(net.state_dict(), batch, stride_at="middle")[0])


@torch.no_grad()
def test_wide_networks() -> None:
    net, batch = build("wide_resnet", depth=16, widening=2), images(2, 3, 16, 16)
    check(net(batch), rewrites.preact(net.state_dict(), batch)[0])


@torch.no_grad()
def test_vgg() -> None:
    net, x = build("vgg16", width=8), images(2, 3, 64, 64)
    w, batch, place = net.state_dict(), x, 0
    for step in "cc|cc|ccc|ccc|ccc|":
        x = functional.max_pool2d(x, 2) if step == "|" else relu(rewrites.conv(w, f"features.{place}", x))
        place += 1 if step == "|" else 2
    x = functional.adaptive_avg_pool2d(x, (7, 7)).flatten(1)
    for place in (0, 3):
        x = relu(rewrites.dense(w, f"classifier.{place}", x))
    check(net(batch), rewrites.dense(w, "classifier.6", x))


@pytest.mark.parametrize(("year", "padding"), [(2014, 2), (2012, 0)])
@torch.no_grad()
def test_alexnet(year: int, padding: int) -> None:
    net, batch = build("alexnet", width=8, year=year), images(2, 3, 96, 96)
    w = net.state_dict()
    x = functional.max_pool2d(relu(rewrites.conv(w, "features.0", batch, 4, padding)), 3, 2)
    x = functional.max_pool2d(relu(rewrites.conv(w, "features.3", x)), 3, 2)
    for place in (6, 8, 10):
        x = relu(rewrites.conv(w, f"features.{place}", x))
    x = functional.adaptive_avg_pool2d(functional.max_pool2d(x, 3, 2), (6, 6)).flatten(1)
    for place in (1, 4):
        x = relu(rewrites.dense(w, f"classifier.{place}", x))
    check(net(batch), rewrites.dense(w, "classifier.6", x))


@torch.no_grad()
def test_mobilenet_pads_right_and_below_in_front_of_its_strides() -> None:
    net, x = build("mobilenet", width=4), images(2, 3, 64, 64)
    batch, layers = x, [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    strides = [2] + [stride for pair in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1) for stride in (pair, 1)]
    for stride, layer, scaling in zip(strides, layers[:-1:2], layers[1:-1:2], strict=True):
        if stride == 2:
            x = functional.pad(x, (0, 1, 0, 1))
        padding = 0 if stride == 2 else layer.weight.shape[-1] // 2
        x = functional.conv2d(x, layer.weight, None, stride, padding, groups=x.shape[1] // layer.weight.shape[1])
        x = relu(rewrites.norm({f"n.{key}": value for key, value in scaling.state_dict().items()}, "n", x, 1e-3))
    check(net(batch), x.mean((2, 3)) @ net.fc.weight[:, :, 0, 0].T + net.fc.bias)


@torch.no_grad()
def test_a_plain_net_is_a_residual_one_without_its_skips() -> None:
    net, x = build("plain", depth=8, width=4), images(2, 3, 16, 16)
    batch, kernels = x, [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    scalings = [module.state_dict() for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for place, (kernel, scaling) in enumerate(zip(kernels, scalings, strict=True)):
        x = functional.conv2d(x, kernel, None, 2 if place in (3, 5) else 1, 1)
        x = relu(rewrites.norm({f"n.{key}": value for key, value in scaling.items()}, "n", x))
    check(net(batch), rewrites.dense(net.state_dict(), "fc", x.mean((2, 3))))
