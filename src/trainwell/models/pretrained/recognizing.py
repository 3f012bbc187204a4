"""Which network of the shelf weights are of, by the names and shapes of their tensors alone."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from trainwell.core.choice import Choice
from trainwell.core.shelves import models
from trainwell.models.pretrained.head import AUXILIARY, head_of
from trainwell.models.pretrained.names import is_counter
from trainwell.models.pretrained.table import ENTRIES

STEMS = ("conv1.weight", "features.conv0.weight", "conv1.conv.weight", "features.0.weight")  # first convolutions
SLACK = 4  # between convolutions and the depth in a name, which counts dense layers, and no projections


def recognize(tensors: Mapping[str, Tensor]) -> Choice | None:
    """Return the network with published weights that has exactly these tensors, its head aside; None if none has.

    Two networks may have the same tensors and compute something else with them (the place of the stride in a
    bottleneck): the one with torchvision's names is taken to be torchvision's.

    >>> from trainwell.models.resnet import resnet34
    >>> recognize(resnet34(3, 5).state_dict())
    Choice(name='resnet34', options={})
    """
    stem = next((tensors[name] for name in STEMS if name in tensors), None)
    if stem is None or stem.dim() != 4:
        return None
    channels = stem.shape[1]
    layers = sum(value.dim() == 4 for value in tensors.values())
    candidates = [name for name in ENTRIES if abs(_depth(name, layers) - layers) <= SLACK]
    return next((Choice(name=name) for name in candidates if _fits(name, channels, tensors)), None)


def _depth(name: str, unknown: int) -> int:
    """Return the layers that a network's name speaks of.

    >>> _depth("wide_resnet50_2", 0), _depth("alexnet", 5)
    (50, 5)
    """
    found = re.search(r"\d+", name)
    return int(found[0]) if found else unknown


def _fits(name: str, channels: int, tensors: Mapping[str, Tensor]) -> bool:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # shapes without memory or draws
        network = models.build(name, in_channels=channels, num_classes=2)
    head = head_of(network)[0]
    return _shapes(network.state_dict(), head) == _shapes(tensors, head)


def _shapes(tensors: Mapping[str, Tensor], head: str) -> dict[str, torch.Size]:
    return {
        name: value.shape
        for name, value in tensors.items()
        if not is_counter(name) and not name.startswith((f"{head}.", *AUXILIARY))
    }
