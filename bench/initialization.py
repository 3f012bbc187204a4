"""Data-dependent starts of a ResNet-50 on one batch: seconds, and LSUV beside one forward pass of the same network.

python bench/initialization.py [--pairs 5] [--batch 16]
"""

import time
from collections.abc import Callable

import torch
from harness import figure, interleave, machine, parser, ratio, write_result
from torch import Tensor, nn

from trainwell.initialization import lsuv_, within_layer_

TARGET = "lsuv_ and within_layer_ of a ResNet-50 on one batch within 10 s on 2 cores, lsuv_ within 3 forward passes"
SECONDS, PASSES = 10.0, 3.0
PARAMETERS = 25_557_032


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with batch norm, and a skip around them; the stride in the 3x3."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, 4 width, H / stride, W / stride)."""
        branch = self.relu(self.bn1(self.conv1(inputs)))
        branch = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(branch)))))
        return self.relu(branch.add_(inputs if self.downsample is None else self.downsample(inputs)))


def resnet50() -> nn.Sequential:
    """Return a ResNet-50 of the usual form for 224x224 images and 1,000 classes."""
    stages: list[nn.Module] = []
    channels = 64
    for width, units, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for unit in range(units):
            stages.append(Bottleneck(channels, width, stride if unit == 0 else 1))
            channels = 4 * width
    stem = (nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1), *stages, *head)


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Time the starts and a forward pass in turn and write the result."""
    options = parser(__doc__ or "")
    options.add_argument("--batch", type=int, default=16)
    given = options.parse_args()
    facts = machine()
    torch.set_num_threads(facts["cores"])
    net = resnet50().to(memory_format=torch.channels_last).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS
    batch = torch.randn(given.batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.no_grad():
            net(batch)

    forward()  # the first pass also pays for start-up
    values = interleave(
        {
            "forward": lambda: seconds(forward),
            "lsuv": lambda: seconds(lambda: lsuv_(net, batch)),
            "within_layer": lambda: seconds(lambda: within_layer_(net, batch)),
        },
        given.pairs,
    )
    figures = {f"{name}, seconds": figure(taken, "s") for name, taken in values.items()}
    figures["lsuv beside one forward pass"] = ratio(values["lsuv"], values["forward"])
    figures["within_layer beside one forward pass"] = ratio(values["within_layer"], values["forward"])
    slowest = max(figures[f"{name}, seconds"].high for name in ("lsuv", "within_layer"))
    reached = slowest <= SECONDS and figures["lsuv beside one forward pass"].high <= PASSES
    write_result("initialization", figures=figures, n=given.pairs, target=TARGET, reached=reached, facts=facts)


if __name__ == "__main__":
    main()
