"""Weights into networks: what comes over, what stays, and what is refused."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid
from trainwell.models.convnet import convnet
from trainwell.models.googlenet import googlenet
from trainwell.models.pretrained import Pretrained, head_of, load_into, load_weights
from trainwell.models.pretrained.names import renamed, unwrapped
from trainwell.models.pretrained.recognizing import recognize
from trainwell.models.resnet import cifar_resnet
from trainwell.models.vgg import vgg


def small(num_classes: int = 10, in_channels: int = 3, **options: object) -> nn.Module:
    return cifar_resnet(in_channels, num_classes, depth=8, **options)  # type: ignore[arg-type]


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_every_tensor_comes_over_as_torch_itself_loads_it() -> None:
    source, ours, theirs = small(), small(), small()
    nn.init.normal_(source.bn1.running_mean)
    theirs.load_state_dict(source.state_dict(), strict=True)
    loaded = load_into(ours, source.state_dict(), head="keep", name="it")
    assert set(loaded.loaded) == set(theirs.state_dict())
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(ours.eval()(images), source.eval()(images))
    assert loaded.summary == "44 of 44 tensors loaded from it"


def test_a_fresh_head_stays_as_it_is_even_where_shapes_agree() -> None:
    source, network = small(), small()
    before = network.fc.weight.clone()
    loaded = load_into(network, source.state_dict(), head="fresh", name="it")
    assert torch.equal(network.fc.weight, before)
    assert loaded.fresh == ("fc.weight", "fc.bias")
    assert torch.equal(network.conv1.weight, source.conv1.weight)
    assert loaded.summary.endswith("the head fc is new: 10 -> 10 outputs")


@pytest.mark.parametrize("head", ["linear", "conv", "mlp", "cosine"])
def test_any_head_may_be_new(head: str) -> None:
    network = small(4, head=head)
    loaded = load_into(network, small(10).state_dict(), head="fresh", name="it")
    assert all(name.startswith("fc.") for name in loaded.fresh)
    assert "10 -> 4 outputs" in loaded.summary


def test_precision_gradients_and_frozen_weights_stay_the_networks_own() -> None:
    network = small().double()
    network.conv1.weight.requires_grad_(False)
    weight = network.conv1.weight
    load_into(network, {name: value.half() for name, value in small().state_dict().items()}, head="fresh", name="it")
    assert network.conv1.weight is weight
    assert weight.dtype == torch.float64
    assert not weight.requires_grad
    assert network.bn1.weight.requires_grad
    assert network.bn1.weight.is_leaf


def test_counts_of_batches_may_be_missing_and_are_said() -> None:
    stored = {name: value for name, value in small().state_dict().items() if "num_batches" not in name}
    loaded = load_into(small(), stored, head="keep", name="it")
    assert len(loaded.missing) == 7
    assert "7 counts of batches" in loaded.summary


def refused(network: nn.Module, stored: dict[str, Tensor], words: str, head: str = "keep") -> None:
    before = copied(network)
    with pytest.raises(ModelInvalid, match=words):
        load_into(network, stored, head=head, name="it")  # type: ignore[arg-type]
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items()), "it was changed"


def test_another_number_of_classes_is_refused_unless_the_head_is_new() -> None:
    refused(small(5), small(10).state_dict(), "the head fc gives 10 scores in it and 5 here: .*head='fresh'")
    assert "10 -> 5 outputs" in load_into(small(5), small(10).state_dict(), head="fresh", name="it").summary


def test_a_head_of_another_kind_is_refused_where_it_is_to_be_kept() -> None:
    refused(small(5, head="mlp"), small(5).state_dict(), "the head fc .*head='fresh'")


@pytest.mark.parametrize("head", ["keep", "fresh"])
def test_images_of_other_channels_are_refused_with_their_cure(head: str) -> None:
    words = "the first convolution conv1 reads 3 channels in it and 1 here: .*--set data.color=rgb"
    refused(small(10, in_channels=1), small(10).state_dict(), words, head)


def test_another_shape_is_refused_by_name() -> None:
    refused(small(width=8), small().state_dict(), r"bn1.weight \(16 there, 8 here\).*another architecture", "fresh")


def test_missing_tensors_are_refused_with_their_number_and_first_names() -> None:
    stored = copied(small())
    del stored["layer2.0.bn1.weight"], stored["layer3.0.conv2.weight"]
    words = "2 of the network's 44 tensors are not in it: layer2.0.bn1.weight, layer3.0.conv2.weight; "
    refused(small(), stored, f"{words}.*nothing was loaded")


def test_surplus_tensors_are_refused_unless_the_network_leaves_them_out() -> None:
    stored = copied(small()) | {"decoder.0.weight": torch.zeros(2, 2)}
    refused(small(), stored, "no place for 1 of the 45 tensors of it: decoder.0.weight")
    network = small()
    network.leaves_out = ("decoder.",)  # type: ignore[assignment]
    loaded = load_into(network, stored, head="keep", name="it")
    assert loaded.unexpected == ("decoder.0.weight",)
    assert loaded.summary.endswith("not used: decoder")


def test_a_wrong_depth_is_answered_with_the_right_one() -> None:
    stored = models.build("resnet20", in_channels=3, num_classes=10).state_dict()
    network = models.build("resnet32", in_channels=3, num_classes=10)
    refused(network, stored, "60 of the network's 188 .*its tensors are those of resnet20")


def test_whole_numbers_are_no_weights() -> None:
    stored = copied(small()) | {"conv1.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)}
    refused(small(), stored, "1 tensor has another form|conv1")


def test_a_layer_of_the_preprocessing_in_front_stays_as_it_is() -> None:
    front, model = nn.BatchNorm2d(3), small(5)
    nn.init.normal_(front.running_mean)
    before = front.running_mean.clone()
    network, source = nn.Sequential(front, model), small(10)
    assert head_of(network) == ("1.fc", model.fc)
    loaded = load_into(network, source.state_dict(), head="fresh", name="it")
    assert loaded.fresh == ("1.fc.weight", "1.fc.bias")
    assert torch.equal(model.conv1.weight, source.conv1.weight)
    assert torch.equal(front.running_mean, before)


def test_wrappers_around_the_network_make_no_difference() -> None:
    source = small()
    for wrapped in (nn.DataParallel(small()), torch.compile(small(), backend="eager")):
        loaded = load_into(wrapped, source.state_dict(), head="keep", name="it")  # type: ignore[arg-type]
        assert len(loaded.loaded) == 44


def test_a_layer_without_a_head_takes_weights_too() -> None:
    norm, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    nn.init.normal_(other.running_mean)
    load_into(norm, other.state_dict(), head="keep", name="it")
    assert torch.equal(norm.running_mean, other.running_mean)
    with pytest.raises(ModelInvalid, match="no head"):
        load_into(norm, other.state_dict(), head="fresh", name="it")


def test_classifiers_in_the_middle_are_new_with_the_head_and_unused_where_there_are_none() -> None:
    def build(classes: int, **options: object) -> nn.Module:
        return googlenet(3, classes, width=8, stem="small", **options)  # type: ignore[arg-type]

    source = build(10)
    network = build(4)
    loaded = load_into(network, source.state_dict(), head="fresh", name="it")
    assert {name.partition(".")[0] for name in loaded.fresh} == {"fc", "aux1", "aux2"}
    assert "new too: aux1, aux2" in loaded.summary
    without = build(10, auxiliary_weight=0.0)
    loaded = load_into(without, source.state_dict(), head="keep", name="it")
    assert {name.partition(".")[0] for name in loaded.unexpected} == {"aux1", "aux2"}
    assert loaded.summary.endswith("not used: aux1, aux2")
    loaded = load_into(build(10), without.state_dict(), head="keep", name="it")
    assert {name.partition(".")[0] for name in loaded.fresh} == {"aux1", "aux2"}
    refused(build(4), source.state_dict(), "the head fc gives 10 scores in it and 4 here")


def test_the_head_is_found_in_any_network() -> None:
    plain = nn.Sequential(OrderedDict(a=nn.Conv2d(3, 4, 3), b=nn.BatchNorm2d(4), c=nn.Linear(4, 2), d=nn.Dropout()))
    assert head_of(plain) == ("c", plain.c)
    reparametrized = nn.Sequential(nn.Linear(2, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    assert head_of(reparametrized) == ("1", reparametrized[1])
    net = convnet((3, 8, 8), 4)
    name, head = head_of(net)
    assert net.get_submodule(name) is head
    with pytest.raises(ModelInvalid, match="no head"):
        head_of(nn.ReLU())


def test_of_several_dense_layers_the_last_alone_is_the_head() -> None:
    """The others were trained with the convolutions and are features of the published net."""
    source, network = (vgg(3, classes, depth=11, width=4) for classes in (10, 3))
    loaded = load_into(network, source.state_dict(), head="fresh", name="it")
    assert head_of(network)[0] == "classifier.6"
    assert loaded.fresh == ("classifier.6.weight", "classifier.6.bias")
    assert torch.equal(network.classifier[0].weight, source.classifier[0].weight)


class TimmLike(nn.Module):
    """A network that says its head as timm's do, with a norm beside it in a part called head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 2)))

    def get_classifier(self) -> nn.Module:
        fc: nn.Module = self.head.fc
        return fc


def test_a_head_that_a_network_of_timm_names_is_taken_at_its_word() -> None:
    assert head_of(TimmLike())[0] == "head.fc"


def test_what_training_programs_wrap_around_weights_is_taken_off() -> None:
    weights = {"conv.weight": torch.ones(1), "fc.bias": torch.zeros(1)}
    module = {f"module.{name}": value for name, value in weights.items()}
    wrapped = (
        weights,
        module,
        {"state_dict": module, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        {"model": {f"_orig_mod.{name}": value for name, value in module.items()}},
        {"model_state_dict": {f"model.{name}": value for name, value in weights.items()}, "loss": 0.1},
        {"checkpoint": 1, "net": {"state_dict": weights}},
        {**module, "n_averaged": torch.tensor(3)},
    )
    for one in wrapped:
        assert list(unwrapped(one, "x.pth")) == list(weights)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([torch.ones(1)], "holds a list, no weights by name"),
        ({}, "no tensors at all"),
        ({"fc.weight": torch.ones(1), "epoch": 3}, r"no tensors: epoch \(int\)"),
        (3, "holds an int"),
    ],
)
def test_what_is_no_weights_is_refused(stored: object, words: str) -> None:
    with pytest.raises(ModelInvalid, match=f"x.pth.*{words}.*state_dict"):
        unwrapped(stored, "x.pth")


def test_names_of_old_densenets_become_todays() -> None:
    old = [f"features.denseblock1.denselayer2.{name}" for name in ("norm.1.weight", "conv.2.weight", "norm.2.bias")]
    new = [name.replace(".1.", "1.").replace(".2.", "2.") for name in old]
    keep = ["features.conv0.weight", "features.transition1.norm.weight", "classifier.weight"]
    assert list(renamed({name: torch.ones(1) for name in old + keep})) == new + keep


def test_names_of_nets_for_small_images_become_torchvisions() -> None:
    ours = small(shortcut="B").state_dict()
    theirs = {name.replace("fc.", "linear.").replace("downsample", "shortcut"): v for name, v in ours.items()}
    assert theirs.keys() != ours.keys()
    assert list(renamed(theirs)) == list(ours)


def test_dense_layers_of_timms_vgg_become_torchvisions() -> None:
    """timm holds the first two as convolutions over 7x7 and 1x1."""
    ours = copied(vgg(3, 5, depth=11, width=2))
    kernel = ours["classifier.0.weight"].unflatten(1, (-1, 7, 7))
    theirs = {name: value for name, value in ours.items() if not name.startswith("classifier")}
    theirs |= {"pre_logits.fc1.weight": kernel, "pre_logits.fc1.bias": ours["classifier.0.bias"]}
    theirs |= {"pre_logits.fc2.weight": ours["classifier.3.weight"][:, :, None, None]}
    theirs |= {"pre_logits.fc2.bias": ours["classifier.3.bias"]}
    theirs |= {f"head.fc.{part}": ours[f"classifier.6.{part}"] for part in ("weight", "bias")}
    found = renamed(theirs)
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], value) for name, value in ours.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "googlenet", "alexnet"])
def test_a_published_net_is_known_by_its_tensors_whatever_its_head(name: str) -> None:
    with torch.device("meta"):
        stored = models.build(name, in_channels=3, num_classes=7).state_dict()
    found = recognize(stored)
    assert found is not None
    assert found.name == name


def test_other_nets_are_not_mistaken_for_published_ones() -> None:
    assert recognize(small().state_dict()) is None
    assert recognize({"conv1.weight": torch.ones(3)}) is None
    assert recognize({}) is None


def test_weights_that_were_read_before_can_be_given() -> None:
    source = small()
    given = Pretrained("mine", "here", "0" * 64, source.state_dict())
    assert load_weights(small(), given).summary == "44 of 44 tensors loaded from mine (here)"
