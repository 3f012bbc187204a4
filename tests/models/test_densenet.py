"""Densely connected networks: what a layer reads, and checkpointing, which changes memory and nothing else."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.errors import OptionInvalid

from .rewrites import images


def build(name: str = "cifar_densenet", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, options, in_channels=3, num_classes=10)


@pytest.mark.parametrize(
    "options", [{}, {"norm_order": "after"}, {"norm": "none"}, {"dropout": 0.2}, {"bottleneck": False}]
)
def test_checkpointing_gives_the_same_bits_in_weights_gradients_and_running_statistics(options: dict[str, Any]) -> None:
    results = []
    for checkpointing in (False, True):
        depth = 16 if options.get("bottleneck", True) else 13
        net = build(depth=depth, growth=4, checkpointing=checkpointing, **options)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(1)
        for step in range(3):
            batch = images(4, 3, 8, 8).float() + step
            functional.cross_entropy(net(batch), torch.arange(4)).backward()
            optimizer.step()
            grads = {f"{name}.grad": p.grad.clone() for name, p in net.named_parameters()}
            optimizer.zero_grad()
        results.append({**net.state_dict(), **grads})
    plain, checked = results
    assert plain.keys() == checked.keys()
    assert all(torch.equal(plain[name], checked[name]) for name in plain)


def kept_bytes(net: nn.Module, batch: torch.Tensor) -> int:
    """What autograd holds of a pass for the backward one, parameters aside."""
    own = {parameter.data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(batch).square().sum()
        total = sum(kept.values())
    del loss
    return total


def test_checkpointing_keeps_a_fraction_of_the_memory() -> None:
    batch = images(2, 3, 8, 8).float()
    plain, checked = (kept_bytes(build(depth=100, checkpointing=on), batch) for on in (False, True))
    assert checked < 0.5 * plain


def test_each_layer_reads_all_maps_of_its_block_made_before_it() -> None:
    net = build(depth=16, growth=4).features
    for block, first in ((net.denseblock1, 8), (net.denseblock2, 8), (net.denseblock3, 8)):
        widths = [layer.conv1.in_channels for layer in block.children()]
        assert widths == [first, first + 4]
    assert (net.transition1.conv.in_channels, net.transition1.conv.out_channels) == (16, 8)


def test_the_growth_of_161_layers_and_the_counted_depths_are_the_published_ones() -> None:
    with torch.device("meta"):
        named = {name: models[name].build({}, in_channels=3, num_classes=2) for name in ("densenet121", "densenet161")}
    assert {name: net.layout.name for name, net in named.items()} == {name: name for name in named}
    assert named["densenet161"].features.conv0.out_channels == 96


def test_dropout_acts_in_training_only() -> None:
    net, batch = build(depth=16, growth=4, dropout=0.5), images(2, 3, 8, 8).float()
    torch.manual_seed(0)
    assert not torch.equal(net(batch), net(batch))
    net.eval()
    assert torch.equal(net(batch), net(batch))


def test_a_depth_that_does_not_fit_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionInvalid, match=r"cifar_densenet:depth must be 6n \+ 4 .* got 42: take 40 or 46"):
        build(depth=42)
    with pytest.raises(OptionInvalid, match=r"cifar_densenet:depth must be 3n \+ 4 .* got 42: take 40 or 43"):
        build(depth=42, bottleneck=False)
