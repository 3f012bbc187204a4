"""Which parts of a network learn at a step, and what stays quiet."""

import itertools

import pytest
import torch
from torch import nn

from trainwell.core.state import State
from trainwell.core.transfer import TransferSection
from trainwell.errors import OptionInvalid
from trainwell.models.googlenet import googlenet
from trainwell.models.resnet import cifar_resnet
from trainwell.train.freezing import Freezing


def frozen(method: str, model: nn.Module, total: int = 100) -> Freezing:
    """Freeze a network."""
    return Freezing(model, TransferSection(source="x", method=method), total_steps=total)


def learning(model: nn.Module) -> set[str]:
    """Return the first two names of all parameters that learn."""
    return {".".join(name.split(".")[:2]) for name, weight in model.named_parameters() if weight.requires_grad}


def test_gradual_thaws_block_by_block_from_the_head_down() -> None:
    model = cifar_resnet(3, 10, depth=14)  # a stem, six units, a head
    freezing = frozen("gradual", model)
    counts = [freezing.learning(step) for step in range(101)]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert set(counts) == set(range(8))
    assert counts[50:] == [7] * 51
    assert counts[49] < 7
    first = [counts.index(count) for count in range(8)]
    gaps = {later - earlier for earlier, later in itertools.pairwise(first)}
    assert max(gaps) - min(gaps) <= 1


def test_a_thaw_changes_what_learns_and_what_trains() -> None:
    model = cifar_resnet(3, 10, depth=14)
    freezing, state = frozen("gradual", model), State(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model.train()
    freezing.before_step(state)
    assert learning(model) == {"fc.weight", "fc.bias"}
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    state.step = 15
    freezing.before_step(state)
    assert learning(model) == {"fc.weight", "fc.bias", "layer3.1", "layer3.0"}
    assert model.layer3[1].bn1.training
    assert not model.layer2[1].bn1.training
    state.step = 99
    freezing.before_step(state)
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(module.training for module in model.modules())


def test_what_was_frozen_by_its_owner_stays_so() -> None:
    model = cifar_resnet(3, 10, depth=8)
    model.conv1.weight.requires_grad_(False)
    freezing = frozen("gradual", model)
    freezing.before_step(State(model, torch.optim.SGD(model.parameters(), lr=0.1), step=99))
    assert not model.conv1.weight.requires_grad


def test_dropout_within_a_frozen_part_is_quiet_and_that_before_the_head_is_not() -> None:
    trunk = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4))
    model = nn.ModuleDict({"trunk": trunk, "dropout": nn.Dropout(0.5), "head": nn.Linear(4, 2)})
    freezing = frozen("head", model)
    model.train()
    freezing.quiet()
    assert not trunk[1].training
    assert model["dropout"].training


def test_auxiliary_classifiers_learn_with_the_head() -> None:
    model = googlenet(3, 10, width=8)
    frozen("head", model)
    assert {name.partition(".")[0] for name in learning(model)} == {"aux1", "aux2", "fc"}


def test_more_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="last:4 or fewer"):
        frozen("last:5", cifar_resnet(3, 10, depth=8))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("head", "the head learns; 4 blocks before it are frozen"),
        ("last:3", "the head and 3 before it learn; 1 block before it is frozen"),
        ("full", "everything learns"),
    ],
)
def test_it_says_what_learns(method: str, words: str) -> None:
    assert frozen(method, cifar_resnet(3, 10, depth=8)).words == words
