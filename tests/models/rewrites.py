"""Networks of the shelf computed anew with plain functions from a state dict, in evaluation mode.

They know nothing of our modules, only of the names in a state dict, which are torchvision's where it has the network;
so they are what torchvision computes from these weights, as its documentation and the papers describe it.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights = Mapping[str, Tensor]


def lived_in(model: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value as of a trained network, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.double().eval().state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.3, generator=generator)
            elif value.ndim == 1:
                value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
            elif "fc" in name or "classifier" in name:
                value.normal_(0, 1 / math.sqrt(value.shape[1]), generator=generator)
    return model


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def norm(w: Weights, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scaled = (x - mean[:, None, None]) / (variance[:, None, None] + epsilon).sqrt()
    return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def conv(w: Weights, name: str, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    kernel = w[f"{name}.weight"]
    padding = kernel.shape[-1] // 2 if padding is None else padding
    return functional.conv2d(x, kernel, w.get(f"{name}.bias"), stride=stride, padding=padding)


def dense(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def zero_padded(x: Tensor, channels: int) -> Tensor:
    """Zero channels half in front, half behind."""
    out = x.new_zeros(x.shape[0], channels, *x.shape[2:])
    front = (channels - x.shape[1]) // 2
    out[:, front : front + x.shape[1]] = x
    return out


def resnet(w: Weights, x: Tensor, *, stride_at: str = "middle", shortcut: str = "B") -> Tensor:
    """A residual network of either unit, with torchvision's stem where it begins with a 7x7 convolution."""
    is_large = w["conv1.weight"].shape[-1] == 7
    x = relu(norm(w, "bn1", conv(w, "conv1", x, 2 if is_large else 1)))
    x = functional.max_pool2d(x, 3, 2, 1) if is_large else x
    units = sorted({tuple(map(int, key[5:].split(".")[:2])) for key in w if key.startswith("layer")})
    for stage, unit in units:
        at, stride = f"layer{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
        depth = 3 if f"{at}.conv3.weight" in w else 2
        strided = 1 if depth == 2 or stride_at == "first" else 2
        y = x
        for place in range(1, depth + 1):
            y = norm(w, f"{at}.bn{place}", conv(w, f"{at}.conv{place}", y, stride if place == strided else 1))
            y = relu(y) if place < depth else y
        if f"{at}.downsample.0.weight" in w:
            x = norm(w, f"{at}.downsample.1", conv(w, f"{at}.downsample.0", x, stride))
        elif x.shape != y.shape:
            rows = x[:, :, ::stride, ::stride]
            if shortcut == "pooled" and stride > 1:
                rows = sum(x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
            x = zero_padded(rows, y.shape[1])
        x = relu(x + y)
    return dense(w, "fc", x.mean((2, 3)))


def densenet(w: Weights, x: Tensor) -> Tensor:
    """A densely connected network, with torchvision's stem where it begins with a 7x7 convolution."""
    is_large = w["features.conv0.weight"].shape[-1] == 7
    x = conv(w, "features.conv0", x, 2 if is_large else 1)
    x = functional.max_pool2d(relu(norm(w, "features.norm0", x)), 3, 2, 1) if is_large else x
    blocks = sorted({int(key.split(".")[1][10:]) for key in w if key.startswith("features.denseblock")})
    for block in blocks:
        layer = 1
        while f"features.denseblock{block}.denselayer{layer}.conv1.weight" in w:
            at = f"features.denseblock{block}.denselayer{layer}"
            y = conv(w, f"{at}.conv1", relu(norm(w, f"{at}.norm1", x)))
            if f"{at}.conv2.weight" in w:
                y = conv(w, f"{at}.conv2", relu(norm(w, f"{at}.norm2", y)))
            x, layer = torch.cat([x, y], 1), layer + 1
        at = f"features.transition{block}"
        if block < blocks[-1]:
            x = functional.avg_pool2d(conv(w, f"{at}.conv", relu(norm(w, f"{at}.norm", x))), 2, 2)
    return dense(w, "classifier", relu(norm(w, "features.norm5", x)).mean((2, 3)))


def googlenet(w: Weights, x: Tensor, read: dict[str, Tensor]) -> Tensor:
    """GoogLeNet with batch norm; what its auxiliary classifiers answer without dropout goes into `read`."""

    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return relu(norm(w, f"{name}.bn", conv(w, f"{name}.conv", x, stride), 1e-3))

    def auxiliary(name: str, x: Tensor) -> Tensor:
        x = layer(f"{name}.conv", functional.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return dense(w, f"{name}.fc2", relu(dense(w, f"{name}.fc1", x)))

    x = functional.max_pool2d(layer("conv1", x, 2), 3, 2, ceil_mode=True)
    x = functional.max_pool2d(layer("conv3", layer("conv2", x)), 3, 2, ceil_mode=True)
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        if module in ("4a", "5a"):
            x = functional.max_pool2d(x, 3 if module == "4a" else 2, 2, ceil_mode=True)
        at = f"inception{module}"
        branches = [
            layer(f"{at}.branch1", x),
            layer(f"{at}.branch2.1", layer(f"{at}.branch2.0", x)),
            layer(f"{at}.branch3.1", layer(f"{at}.branch3.0", x)),
            layer(f"{at}.branch4.1", functional.max_pool2d(x, 3, 1, 1)),
        ]
        x = torch.cat(branches, 1)
        if module in ("4a", "4d"):
            name = "aux1" if module == "4a" else "aux2"
            read[name] = auxiliary(name, x)
    return dense(w, "fc", x.mean((2, 3)))


def preact(w: Weights, x: Tensor, *, stride_at: str = "first") -> tuple[Tensor, list[Tensor]]:
    """A pre-activation network with projected shortcuts, and what each unit gives; a stem with a norm is large."""
    is_large = "first.bn.weight" in w
    x, sums = conv(w, "conv1", x, 2 if is_large else 1), []
    if is_large:
        x = functional.max_pool2d(relu(norm(w, "first.bn", x)), 3, 2, 1)
    units = sorted({tuple(map(int, key[5:].split(".")[:2])) for key in w if key.startswith("layer")})
    for stage, unit in units:
        at, stride = f"layer{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
        depth = 3 if f"{at}.conv3.weight" in w else 2
        strided = 1 if depth == 2 or stride_at == "first" else 2
        activated = relu(norm(w, f"{at}.pre1.bn", x)) if f"{at}.pre1.bn.weight" in w else x
        y = conv(w, f"{at}.conv1", activated, stride if strided == 1 else 1)
        for place in range(2, depth + 1):
            y = relu(norm(w, f"{at}.pre{place}.bn", y))
            y = conv(w, f"{at}.conv{place}", y, stride if place == strided else 1)
        if f"{at}.downsample.weight" in w:
            x = conv(w, f"{at}.downsample", activated, stride)
        elif (stage, unit) == (1, 0):
            x = activated
        x = x + y
        sums.append(x)
    return dense(w, "fc", relu(norm(w, "last.bn", x)).mean((2, 3))), sums
