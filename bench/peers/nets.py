"""Networks in plain torch, the same in every environment: ResNet-20, the small ConvNet, and a tiny MLP.

`export.py` holds them against trainwell's: the same names, shapes and outputs with the same weights.
A name that begins with `trainwell:` is a member of trainwell's own shelf, where it can be imported.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def build(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a network for images (C, H, W) by name: resnet20, convnet, or trainwell:CHOICE."""
    torch.manual_seed(0)
    if name.startswith("trainwell:"):
        return from_shelf(name.partition(":")[2], shape, classes)
    if name == "resnet20":
        return start(ResNet20(shape[0], classes))
    if name == "convnet":
        return start(ConvNet(shape, classes))
    raise SystemExit(f"there is no network {name!r}: take resnet20, convnet, or trainwell:CHOICE")


def from_shelf(choice: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a network of trainwell's own shelf, which needs its sources on PYTHONPATH."""
    from trainwell.core.choice import Choice
    from trainwell.models.building import build_network

    return build_network(Choice.parse(choice), shape, classes, seed=0, files={})


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2: three stages of three units at 16, 32, 64 channels, shortcut A."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Unit(16, 16), Unit(16, 16), Unit(16, 16))
        self.layer2 = nn.Sequential(Unit(16, 32), Unit(32, 32), Unit(32, 32))
        self.layer3 = nn.Sequential(Unit(32, 64), Unit(64, 64), Unit(64, 64))
        self.fc = nn.Linear(64, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores."""
        maps = self.relu(self.bn1(self.conv1(inputs)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.fc(maps.mean((2, 3)))


class Unit(nn.Module):
    """Two 3x3 convolutions with a skip around them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.grows = out_channels != in_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 2 if self.grows else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the branch added to its input, or to every second pixel of it with zero channels around."""
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(inputs)))))
        if self.grows:
            quarter = branch.shape[1] // 4
            inputs = functional.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        return self.relu(branch.add_(inputs))


class ConvNet(nn.Module):
    """Three stages of two conv-BN-ReLU layers at 32, 64, 128 channels, max pooling between them, a mean, a head."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, *sides = shape
        side, width = min(sides), 32
        blocks: list[nn.Module] = []
        while side > 48:
            blocks.append(block(channels, width, stride=2))
            channels, side = width, side // 2
        for stage in range(3):
            if stage > 0 and side >= 8:
                blocks.append(nn.MaxPool2d(2))
                side //= 2
            blocks += [block(channels, width << stage), block(width << stage, width << stage)]
            channels = width << stage
        self.body = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, K) scores."""
        return self.fc(self.body(inputs).mean((2, 3)))


def block(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def start(net: nn.Module) -> nn.Module:
    """Draw He's weights for the convolutions and small ones for the head, in place; return the network."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    return net


def tiny_mlp() -> nn.Module:
    """64-64-64-10 with ReLU."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
