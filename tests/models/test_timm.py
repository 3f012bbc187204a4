"""Networks of timm, through a stand-in of it: its own networks are its own affair."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainwell.core.choice import Choice
from trainwell.errors import ModelInvalid, NameUnknown, OptionInvalid
from trainwell.models.building import build_network
from trainwell.models.pretrained import load_into, published


class Network(nn.Module):
    """As timm's are: a head that `get_classifier` names, and what is known of its weights."""

    def __init__(self, in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 4, 3)
        self.fc = nn.Linear(4, num_classes)
        self.pretrained_cfg = {
            "hf_hub_id": "timm/resnet18.a1_in1k",
            "input_size": (3, 224, 224),
            "mean": (0.5, 0.4, 0.3),
            "std": (0.2, 0.2, 0.1),
            "label_names": None,
        }

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.conv(inputs).mean((2, 3)))
        return scores


class Timm(ModuleType):
    """Stands in for timm: two networks, one of them for images of a single size."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.asked: list[dict[str, Any]] = []

    def list_models(self) -> list[str]:
        return ["resnet18", "vit_tiny_patch16_224"]

    def is_model(self, name: str) -> bool:
        return name.partition(".")[0] in self.list_models()

    def get_pretrained_cfg(self, name: str) -> object:
        return SimpleNamespace(fixed_input_size=name.startswith("vit"), input_size=(3, 224, 224))

    def create_model(self, name: str, **options: Any) -> nn.Module:
        self.asked.append({"name": name, **options})
        if "drop_path_rate" in options:
            raise TypeError("unexpected keyword argument 'drop_path_rate'")
        return Network(options.get("in_chans", 3), options.get("num_classes", 1000))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> Timm:
    stand_in = Timm()
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return stand_in


def build(text: str, input_shape: tuple[int, ...] = (3, 32, 48)) -> nn.Module:
    return build_network(Choice.parse(text), input_shape, 5, seed=0, files={})


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("timm:resnet18", {"architecture": "resnet18"}),
        ("timm:architecture=resnet18", {"architecture": "resnet18"}),
        ("timm:resnet18.a1_in1k,dropout=0.1", {"architecture": "resnet18.a1_in1k", "dropout": 0.1}),
        ("timm:hf-hub:timm/resnet18", {"architecture": "hf-hub:timm/resnet18"}),
        ("timm:dropout=0.5,architecture=x", {"dropout": 0.5, "architecture": "x"}),
        ("timm", {}),
    ],
)
def test_the_name_of_a_network_stands_first_and_reads_back(text: str, options: dict[str, Any]) -> None:
    assert Choice.parse(text) == Choice(name="timm", options=options)
    assert Choice.parse(str(Choice.parse(text))) == Choice.parse(text)
    assert Choice.model_validate_json(Choice.parse(text).model_dump_json()) == Choice.parse(text)


@pytest.mark.parametrize("text", ["sgd:0.1", "timm:architecture=a,resnet18", "timm:resnet18,resnet50", "resnet50:fast"])
def test_elsewhere_an_option_without_its_name_is_refused(text: str) -> None:
    with pytest.raises(OptionInvalid, match="an option is written key=value"):
        Choice.parse(text)


def test_a_network_is_built_for_these_channels_and_classes(timm: Timm) -> None:
    network = build("timm:resnet18,dropout=0.2", (1, 32, 48))
    assert network(torch.zeros(2, 1, 32, 48)).shape == (2, 5)
    asked = {"name": "resnet18", "pretrained": False, "in_chans": 1, "num_classes": 5, "drop_rate": 0.2}
    assert timm.asked == [asked]


def test_a_network_for_one_size_is_built_for_the_size_of_these_images(timm: Timm) -> None:
    build("timm:vit_tiny_patch16_224")
    build("timm:vit_tiny_patch16_224", (3, 224, 224))
    assert [asked.get("img_size") for asked in timm.asked] == [(32, 48), None]


def test_first_weights_are_a_function_of_the_seed(timm: Timm) -> None:
    choice = Choice.parse("timm:resnet18")
    one, same, other = (build_network(choice, (3, 8, 8), 5, seed=seed, files={}).conv.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_unknown_network_is_answered_with_the_nearest(timm: Timm) -> None:
    with pytest.raises(NameUnknown, match="timm has no network 'resnet19': the nearest are resnet18; timm.list_models"):
        build("timm:resnet19")


def test_a_network_needs_a_name(timm: Timm) -> None:
    with pytest.raises(OptionInvalid, match=r"timm needs architecture \(a text\)"):
        build("timm")


def test_what_timm_refuses_is_said_with_what_was_asked(timm: Timm) -> None:
    with pytest.raises(ModelInvalid, match=r"timm cannot build resnet18 with .*drop_path_rate=0.1 \(TypeError: unexp"):
        build("timm:resnet18,stochastic_depth=0.1")


def test_features_are_no_images(timm: Timm) -> None:
    with pytest.raises(ModelInvalid, match="timm needs in_channels: it works on images"):
        build("timm:resnet18", (7,))


def test_without_timm_the_line_to_install_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelInvalid, match=r'timm is not installed: pip install "trainwell\[timm\]"'):
        build("timm:resnet18")


def test_weights_that_timm_publishes_come_with_their_preprocessing(timm: Timm) -> None:
    found = published("timm:resnet18.a1_in1k")
    assert timm.asked[0]["pretrained"] is True
    assert found.location == "timm/resnet18.a1_in1k"
    assert found.model == Choice.parse("timm:resnet18.a1_in1k")
    assert str(found.preprocessing) == "fixed:mean=[0.5, 0.4, 0.3],std=[0.2, 0.2, 0.1]"
    assert (found.input_shape, found.classes, len(found.sha256)) == ((3, 224, 224), (), 64)
    assert found.model is not None
    network = build(str(found.model))
    loaded = load_into(network, found.tensors, head="fresh", name=found.name)
    assert loaded.summary == "2 of 4 tensors loaded from timm:resnet18.a1_in1k; the head fc is new: 1000 -> 5 outputs"
