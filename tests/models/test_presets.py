"""Published sizes: parameter counts of the printed tables, torchvision's names, and presets that are their family's.

Networks are built on the meta device, which holds shapes and no numbers.
"""

from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.catalog import Card
from trainwell.core.choice import Choice
from trainwell.core.shelves import models
from trainwell.models.resnet import resnet20

from . import torchvision_names

PRESETS = [card for card in models if "preset_of" in card.traits]

IMAGENET = {  # trained parameters for 3 channels and 1000 classes
    "resnet18": 11_689_512,
    "resnet18:shortcut=A": 11_515_688,
    "resnet34": 21_797_672,
    "resnet34:shortcut=A": 21_623_848,
    "resnet34:shortcut=C": 22_716_840,
    "resnet50": 25_557_032,
    "resnet50:stride_at=first": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    # pytorchcv's printed counts, less the 128 of a second norm of the stem, which the authors' program does not have:
    "preact_resnet18": 11_687_848 - 128,
    "preact_resnet34": 21_796_008 - 128,
    "preact_resnet50": 25_549_480 - 128,
    "preact_resnet101": 44_541_608 - 128,
    "preact_resnet152": 60_185_256 - 128,
    "preact_resnet200": 64_666_280 - 128,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet161": 28_681_000,
    "googlenet": 13_004_888,
    "googlenet:auxiliary_weight=0": 6_624_904,
    "googlenet:auxiliary_weight=0,norm=none,large_kernel=5": 6_998_552,  # Caffe's, which has no batch norm
    "googlenet:norm=none,large_kernel=5": 13_378_280,
    "vgg16": 138_357_544,
    "alexnet": 61_100_840,
    "alexnet:year=2012": 62_378_344,
    "mobilenet": 4_231_976,
}
CIFAR = {  # for 3 channels and 10 classes
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain:depth=20": 269_722,
    "plain:depth=56": 853_018,
    "preact164": 1_703_258,
    "preact1001": 10_327_706,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet:depth=40,widening=4": 8_949_210,
    "densenet_bc100": 769_162,
    "cifar_densenet:depth=40,bottleneck=false,compression=1": 1_019_722,
    "cifar_densenet:depth=100,bottleneck=false,compression=1": 6_979_642,
    "cifar_densenet:depth=100,growth=24,bottleneck=false,compression=1": 27_249_082,
    "cifar_densenet:depth=250,growth=24": 15_324_406,
    "cifar_densenet:depth=190,growth=40": 25_624_430,
}


def on_meta(choice: str, classes: int = 1000) -> nn.Module:
    named = Choice.parse(choice)
    card = models[named.name]  # the shelf is filled outside the device
    with torch.device("meta"):
        model: nn.Module = card.build(named.options, in_channels=3, num_classes=classes)
    return model


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("choice", "parameters"), IMAGENET.items())
def test_it_has_as_many_parameters_as_its_table_for_imagenet_says(choice: str, parameters: int) -> None:
    assert count(on_meta(choice)) == parameters


@pytest.mark.parametrize(("choice", "parameters"), CIFAR.items())
def test_it_has_as_many_parameters_as_its_table_for_cifar_says(choice: str, parameters: int) -> None:
    assert count(on_meta(choice, 10)) == parameters


def test_a_hundred_classes_add_a_row_each_to_the_head() -> None:
    assert count(on_meta("preact164", 100)) == 1_726_388


def test_mobilenets_table_counts_the_running_statistics_too() -> None:
    state = on_meta("mobilenet").state_dict()
    assert sum(value.numel() for name, value in state.items() if "num_batches" not in name) == 4_253_864


NAMES = {
    **{f"resnet{depth}": torchvision_names.resnet(depth) for depth in torchvision_names.RESNETS},
    **{f"wide_resnet{depth}_2": torchvision_names.resnet(depth, 128) for depth in (50, 101)},
    **{f"densenet{depth}": torchvision_names.densenet(depth) for depth in torchvision_names.DENSENETS},
    "googlenet": torchvision_names.googlenet(),
    "vgg16": torchvision_names.vgg16(),
    "alexnet": torchvision_names.alexnet(),
}


@pytest.mark.parametrize("name", NAMES)
def test_its_state_dict_has_torchvisions_names_and_shapes(name: str) -> None:
    assert {key: tuple(value.shape) for key, value in on_meta(name).state_dict().items()} == NAMES[name]


def test_as_many_names_were_written_down_as_published_files_hold() -> None:
    published = {"resnet18": 122, "resnet50": 320, "densenet121": 727, "vgg16": 32, "alexnet": 16}
    assert {name: len(NAMES[name]) for name in published} == published


@pytest.mark.parametrize("card", PRESETS, ids=lambda card: card.name)
def test_a_preset_is_its_family_with_the_options_that_it_fixes(card: Card) -> None:
    family, fixed = models[card.traits["preset_of"]], card.traits["fixed"]
    assert "preset_of" not in family.traits
    assert card.needs == family.needs
    assert fixed.keys() <= family.options.keys()
    assert not fixed.keys() & card.options.keys()
    assert {name: family.options[name] for name in card.options} == card.options
    assert card.summary.endswith(".")
    assert card.source
    if card.name in (*IMAGENET, *CIFAR):
        return  # built and counted above
    facts: dict[str, Any] = {"in_channels": 3, "num_classes": 10}
    with torch.device("meta"):
        one, same = (named.build(options, **facts).state_dict() for named, options in ((card, {}), (family, fixed)))
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in same.items()}


def test_what_a_preset_fixes_cannot_be_given() -> None:
    with pytest.raises(TypeError, match="resnet20\\(\\) got an unexpected keyword argument 'depth'"):
        resnet20(3, 10, depth=8)
