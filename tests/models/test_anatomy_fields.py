"""Receptive fields, against published ones, closed forms, and which input pixels a gradient reaches."""

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.models.anatomy import Field, anatomy
from trainwell.models.anatomy.stand_in import without_numbers


@pytest.mark.parametrize(
    ("name", "options", "block", "size", "jump"),
    [
        ("resnet50", {"stride_at": "first"}, "layer4", 483, 32),
        ("resnet101", {"stride_at": "first"}, "layer4", 1027, 32),
        ("resnet152", {"stride_at": "first"}, "layer4", 1507, 32),
        ("vgg16", {}, "features", 212, 32),
        ("alexnet", {}, "features", 195, 32),
        ("mobilenet", {}, "features", 315, 32),
    ],
)
def test_fields_of_known_networks_are_the_published_ones(
    name: str, options: dict[str, str], block: str, size: int, jump: int
) -> None:
    """Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks", table 1."""
    with without_numbers():
        network = models.build(name, options, in_channels=3, num_classes=10)
    field = anatomy(network, (3, 224, 224)).block(block).field
    assert field is not None
    assert (field.size, field.jump) == ((size, size), (jump, jump))


def test_vgg16_sees_90_pixels_of_padding() -> None:
    with without_numbers():
        network = models.build("vgg16", {}, in_channels=3, num_classes=10)
    field = anatomy(network, (3, 224, 224)).block("features").field
    assert field is not None
    assert field.start == (-90, -90)


def reached(network: nn.Module, unit: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """First and last row and column of the input that a gradient from one unit reaches."""
    inputs = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    network.double()(inputs)[0, 0, unit[0], unit[1]].backward()
    assert inputs.grad is not None
    rows, columns = (inputs.grad[0, 0].abs().sum(axis) > 0 for axis in (1, 0))
    found = [mask.nonzero().flatten() for mask in (rows, columns)]
    return int(found[0][0]), int(found[0][-1]), int(found[1][0]), int(found[1][-1])


class Branches(nn.Module):
    """A short and a long branch that are added or joined."""

    def __init__(self, *, joins: bool) -> None:
        super().__init__()
        self.short, self.long, self.joins = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2), joins

    def forward(self, x: Tensor) -> Tensor:
        """Return maps."""
        both = [self.long(x), self.short(x)]
        return torch.cat(both, 1) if self.joins else both[0] + both[1]


STACKS = [
    [nn.Conv2d(1, 1, 3)],
    [nn.Conv2d(1, 1, 7, 2, 3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, padding=1)],
    [nn.Conv2d(1, 1, 3, dilation=3), nn.Conv2d(1, 1, (1, 5), (1, 2)), nn.Conv2d(1, 1, (3, 2))],
    [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, padding=1)],
    [nn.Conv2d(1, 1, 3, 2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 1)],
    [nn.Conv2d(1, 1, 3), Branches(joins=False), nn.Softplus()],
    [Branches(joins=True), nn.Conv2d(2, 1, 3, 2)],
    [nn.Conv2d(1, 4, 3), nn.PixelShuffle(2)],
]


@pytest.mark.parametrize("layers", STACKS, ids=lambda layers: " ".join(type(layer).__name__ for layer in layers))
def test_fields_are_where_gradients_come_from(layers: list[nn.Module]) -> None:
    side, network = 40, nn.Sequential(*layers)
    found = anatomy(network, (1, side, side)).layers[-1]
    field, unit = found.field, (4, 4)
    assert field is not None
    top, bottom, left, right = reached(network, unit, side)
    starts = [start + place * jump for start, place, jump in zip(field.start, unit, field.jump, strict=True)]
    ends = [start + size - 1 for start, size in zip(starts, field.size, strict=True)]
    assert (max(0, starts[0]), max(0, starts[1])) == (top, left)
    assert (min(side - 1, ends[0]), min(side - 1, ends[1])) == (bottom, right)


def test_a_mean_over_all_pixels_sees_everything_between_the_outer_fields() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    layers = anatomy(network, (3, 16, 16)).layers
    assert layers[0].field == Field((3, 3), (2, 2), (-1, -1))
    assert layers[-1].field == Field((17, 17), (0, 0), (-1, -1))  # 3 + 7 * 2


def test_a_gate_from_the_mean_makes_every_unit_see_everything() -> None:
    class Gated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.mean((2, 3), keepdim=True)

    field = anatomy(nn.Sequential(nn.Conv2d(1, 1, 3), Gated()), (1, 10, 10)).layers[-1].field
    assert field == Field((10, 10), (1, 1), (0, 0))


def test_attention_over_patches_sees_the_whole_image() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.attend = nn.Conv2d(1, 8, 4, 4), nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.cut(x).flatten(2).transpose(1, 2)
            attended: Tensor = self.attend(tokens, tokens, tokens, need_weights=False)[0]
            return attended

    cut, *_, attended = anatomy(Patches(), (1, 16, 16)).layers
    assert cut.field == Field((4, 4), (4, 4), (0, 0))
    assert attended.field is not None
    assert attended.field.size == (16, 16)


def test_features_have_no_field() -> None:
    assert anatomy(nn.Linear(4, 2), (4,)).layers[0].field is None


def test_volumes_and_time_series_have_fields_along_their_own_axes() -> None:
    series = anatomy(nn.Conv1d(2, 3, 5, dilation=2), (2, 30)).layers[0].field
    assert series == Field((9,), (1,), (0,))
    volume = anatomy(nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.MaxPool3d(2)), (1, 8, 8, 8)).layers[-1].field
    assert volume == Field((2, 4, 6), (2, 2, 2), (0, 0, 0))
