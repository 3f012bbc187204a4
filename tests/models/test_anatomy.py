"""What networks cost before any training, against the printed tables, torch's own counter, and closed forms."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid, OptionInvalid, ShapeError
from trainwell.models.anatomy import Anatomy, anatomy
from trainwell.models.anatomy.stand_in import without_numbers


@cache
def of(name: str, side: int, *, count: str = "macs", classes: int = 1000, **options: Any) -> Anatomy:
    """The anatomy of a member of the shelf, built without numbers."""
    with without_numbers():
        network = models.build(
            name, options, in_channels=3, num_classes=classes, input_shape=(3, side, side), in_features=3 * side * side
        )
    return anatomy(network, (3, side, side), count=count)


# Convolutions of VGG-16: (side, channels in, channels out); then its dense layers.
VGG16 = sum(
    9 * side * side * inner * outer
    for side, inner, outer in (
        *((224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128)),
        *((56, 128, 256), (56, 256, 256), (56, 256, 256)),
        *((28, 256, 512), (28, 512, 512), (28, 512, 512)),
        *((14, 512, 512), (14, 512, 512), (14, 512, 512)),
    )
) + (49 * 512 * 4096 + 4096 * 4096 + 4096 * 1000)


def plain_alexnet() -> nn.Sequential:
    """AlexNet in one column, as wide as the two columns of the paper together, for images of 227 pixels."""
    dense = [nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Flatten(), *dense),
    )


def test_the_folded_table_of_resnet34_comes_out_row_by_row() -> None:
    found = of("resnet34", 224, count="folded")
    stem = found.block("conv1")
    assert (stem.parameters, stem.operations) == (9_472, 118_816_768)
    firsts = [found.block(f"layer{stage}.0").parameters for stage in (2, 3, 4)]
    wholes = [found.block(f"layer{stage}").parameters for stage in (1, 2, 3, 4)]
    assert firsts == [229_760, 918_272, 3_671_552]
    assert wholes == [221_568, 229_760 + 885_504, 918_272 + 5_900_800, 3_671_552 + 9_439_232]
    assert found.block("layer1").operations == 221_568 * 56 * 56
    assert found.block("layer2.0").operations == 180_182_016 == 229_760 * 784 + 64 * 784
    assert found.block("layer2").operations == 180_182_016 + 885_504 * 784
    assert found.block("fc").parameters == 513_000 == found.block("fc").operations
    assert (found.parameters, found.operations) == (21_789_160, 3_668_417_232)
    assert found.block("softmax").operations == 1000


def test_the_folded_table_of_resnet101_comes_out() -> None:
    found = of("resnet101", 224, count="folded", stride_at="first")
    assert (found.parameters, found.operations) == (44_496_488, 7_587_155_920)
    assert found.block("fc").operations == 2_049_000


def test_the_folded_count_of_alexnet_in_one_column_comes_out() -> None:
    with without_numbers():
        network = plain_alexnet()
    found = anatomy(network, (3, 227, 227), count="folded")
    weighted = sum(layer.operations for layer in found.layers if layer.parameters)
    assert (found.parameters, weighted) == (62_378_344, 1_135_915_368)
    pooled = 96 * 55 * 55 + 256 * 27 * 27 + 256 * 13 * 13  # which the printed total leaves out, with the softmax
    assert found.operations == weighted + pooled + 1000


@pytest.mark.parametrize(
    ("name", "options", "parameters", "operations"),
    [
        ("resnet18", {}, 11_689_512, 1_814_073_344),
        ("resnet34", {}, 21_797_672, 3_663_761_408),
        ("resnet50", {}, 25_557_032, 4_089_184_256),
        ("resnet50", {"stride_at": "first"}, 25_557_032, 3_857_973_248),
        ("resnet101", {}, 44_549_160, 7_801_405_440),
        ("resnet152", {}, 60_192_808, 11_513_626_624),
        ("densenet121", {}, 7_978_856, 2_834_161_664),
        ("densenet169", {}, 14_149_480, 3_359_843_328),
        ("densenet201", {}, 20_013_928, 4_291_365_888),
        ("densenet161", {}, 28_681_000, 7_727_907_072),
        ("googlenet", {}, 13_004_888, 1_498_376_192),
        ("vgg16", {}, 138_357_544, VGG16),
        ("alexnet", {}, 61_100_840, 714_188_480),
    ],
)
def test_multiply_adds_of_imagenet_networks_are_those_of_the_tables(
    name: str, options: dict[str, Any], parameters: int, operations: int
) -> None:
    found = of(name, 224, **options)
    assert (found.parameters, found.operations) == (parameters, operations)
    assert (found.not_counted, found.lost, found.notes) == ((), (), ())


def test_the_auxiliary_heads_of_googlenet_are_named_and_not_run() -> None:
    assert dict(of("googlenet", 224).unused) == {"aux1": 3_188_968, "aux2": 3_191_016}


@pytest.mark.parametrize(
    ("depth", "parameters", "operations"),
    [
        (20, 269_722, 40_551_040),
        (32, 464_154, 68_862_592),
        (44, 658_586, 97_174_144),
        (56, 853_018, 125_485_696),
        (110, 1_727_962, 252_887_680),
    ],
)
def test_multiply_adds_of_small_residual_networks_are_those_of_the_table(
    depth: int, parameters: int, operations: int
) -> None:
    found = of(f"resnet{depth}", 32, classes=10)
    assert (found.parameters, found.operations) == (parameters, operations)
    assert found.paths is not None
    assert found.paths.units == (depth - 2) // 2


def test_mobilenet_is_counted_as_keras_counts_it() -> None:
    found = of("mobilenet", 224, count="keras")
    assert (found.parameters, found.trainable) == (4_253_864, 4_231_976)
    pads = [layer.shape[1:] for layer in found.layers if "Pad" in layer.kind]
    assert pads[:2] == [(225, 225), (113, 113)]
    rows = [layer.parameters for layer in found.layers if layer.parameters]
    assert rows[:7] == [864, 128, 288, 128, 2_048, 256, 576]


@pytest.mark.parametrize("name", ["convnet", "mlp", "preact", "resnet20", "googlenet"])
def test_multiply_adds_are_those_of_torchs_own_counter(name: str) -> None:
    with without_numbers():
        facts = {"in_channels": 3, "num_classes": 7, "input_shape": (3, 64, 64), "in_features": 3 * 64 * 64}
        network = models.build(name, {}, **facts)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(2, 3, 64, 64))
    found = anatomy(network, (3, 64, 64))
    assert found.operations == counter.get_total_flops() // 4  # a multiply-add is two of its operations
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_stages_share_everything_out() -> None:
    found = of("resnet18", 224)
    assert [stage.name for stage in found.stages][1:5] == ["layer1", "layer2", "layer3", "layer4"]
    assert sum(stage.operations for stage in found.stages) == found.operations
    assert sum(stage.parameter_share for stage in found.stages) == pytest.approx(1)
    blocks = [stage.name for stage in of("densenet121", 224).stages]
    assert "features.denseblock1" in blocks
    assert len(blocks) == 9


def test_what_is_kept_is_what_the_way_back_needs() -> None:
    """A convolution keeps its input, ReLU its output, a maximum its input and where it was, a dense layer its input."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
    found = anatomy(network, (1, 8, 8))
    conv, relu, pool, flatten, dense = found.layers
    assert [layer.memory for layer in found.layers] == [4 * 72, 4 * 72, 4 * 18 + 8 * 18, 0, 4 * 3]
    assert (conv.kept, relu.kept, pool.kept, flatten.kept, dense.kept) == (0, 4 * 72, 4 * 18 + 8 * 18, 0, 0)
    assert found.kept == sum(layer.kept for layer in found.layers) + 4 * 64  # the input, for the convolution
    assert found.peak == 4 * (72 + 72)  # of both around the ReLU
    assert found.volume == 72 + 72 + 18 + 3


def test_in_place_layers_write_nothing_and_dropout_keeps_a_byte_an_entry() -> None:
    found = anatomy(nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Dropout(0.5)), (5,))
    assert [(layer.memory, layer.kept) for layer in found.layers] == [(28, 28), (0, 0), (28 + 7, 7)]


def test_frozen_weights_keep_nothing() -> None:
    network = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2)).requires_grad_(False)
    found = anatomy(network, (5,))
    assert (found.kept, found.trainable, found.parameters) == (0, 0, 58)


class Twice(nn.Module):
    """One layer used twice, a parameter of its own, a part that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps."""
        return self.conv(torch.relu(self.conv(x))) * self.scale


def test_a_layer_used_twice_has_its_parameters_once_and_its_operations_twice() -> None:
    found = anatomy(Twice(), (2, 4, 4))
    rows = [(layer.name, layer.parameters, layer.operations) for layer in found.layers]
    assert rows == [("conv", 38, 576), ("relu", 0, 0), ("conv#2", 0, 576), ("mul", 2, 0)]
    assert found.unused == (("spare", 20),)
    assert found.parameters == 60


def test_a_shape_that_is_none_and_a_count_that_is_none_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"such as \(3, 224, 224\)"):
        anatomy(nn.Linear(2, 2), (0,))
    with pytest.raises(OptionInvalid, match="no count is called 'flops'"):
        anatomy(nn.Linear(2, 2), (2,), count="flops")
    with pytest.raises(ModelInvalid, match=r"cannot take inputs of shape \(3,\)"):
        anatomy(nn.Linear(2, 2), (3,))
    with pytest.raises(ModelInvalid, match="lazy layers"):
        anatomy(nn.LazyLinear(2), (3,))
