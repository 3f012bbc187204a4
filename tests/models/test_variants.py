"""What every network must do, of the forms that its options give: other units, skips, stems, depths, and what is drawn.

The small form of each family, with its defaults, is held to the same in `tests/contracts/test_models.py`.
"""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.models.auxiliary import with_auxiliaries

from .rewrites import images

CLASSES, COUNT = 5, 10
SIDES = {"large": 64, "small": 16}

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {"stem": "large"}),
    ("resnet", {"depth": 50, "width": 4}),
    ("resnet", {"depth": 50, "width": 4, "stride_at": "first", "bottleneck_width": 2}),
    *[("resnet", {"shortcut": shortcut}) for shortcut in ("A", "C", "pooled")],
    ("cifar_resnet", {"depth": 11, "unit": "bottleneck"}),
    *[("cifar_resnet", {"shortcut": shortcut}) for shortcut in ("B", "C", "pooled")],
    ("preact", {"depth": 11, "unit": "bottleneck"}),
    ("preact", {"depth": 11, "unit": "bottleneck", "stride_at": "middle"}),
    *[("preact", {"shortcut": shortcut}) for shortcut in ("A", "C", "pooled")],
    ("preact_resnet", {"stem": "large"}),
    ("preact_resnet", {"stem": "large", "depth": 50, "width": 4}),
    ("wide_resnet", {"widening": 2}),
    ("plain", {"stem": "large"}),
    ("plain", {"depth": 20}),
    ("densenet", {"stem": "large"}),
    ("densenet", {"compression": 1.0}),
    ("densenet", {"checkpointing": True}),
    ("cifar_densenet", {"depth": 13, "bottleneck": False, "compression": 1.0}),
    ("googlenet", {"stem": "large"}),
    ("googlenet", {"large_kernel": 5}),
    ("googlenet", {"skips": True}),
    ("googlenet", {"auxiliary_weight": 0.0}),
    ("vgg", {"depth": 16, "norm": "batch"}),
    ("vgg", {"head": "linear"}),
    ("alexnet", {"year": 2012}),
    ("mobilenet", {"stem": "large"}),
]
BY_CHANCE: list[tuple[str, dict[str, Any]]] = [
    *[(name, {"survival": 0.5, "drop": drop}) for name in ("cifar_resnet", "preact") for drop in ("batch", "sample")],
    ("wide_resnet", {"dropout": 0.3}),
    ("densenet", {"dropout": 0.2}),
    ("vgg", {"dropout": 0.5}),
]
TRACED: list[tuple[str, dict[str, Any]]] = [
    ("cifar_resnet", {"survival": 0.5, "drop": "batch"}),
    ("preact", {"survival": 0.5, "drop": "sample"}),
    ("cifar_densenet", {"depth": 10, "checkpointing": True}),
    ("preact_resnet", {"stem": "large"}),
]
LIKE_OTHERS = ("densenet", "googlenet")  # whose forms learn as their small one does, and take long


def build(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    card = models[name]
    net: nn.Module = card.build({**card.traits["small"], **options}, in_channels=3, num_classes=CLASSES)
    return net


def batch(name: str, options: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    least = 67 if options.get("year") == 2012 else models[name].traits.get("least_side", 1)
    side = max(SIDES[options.get("stem", "small")], least)
    return images(COUNT, 3, side, side).float(), torch.arange(COUNT) % CLASSES


def loss_of(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """With the same draws each time."""
    torch.manual_seed(2)
    return with_auxiliaries(functional.cross_entropy, net)(net(inputs).float(), labels)


def grads(net: nn.Module) -> dict[str, torch.Tensor]:
    """Zeros, where a parameter had no part in this step."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *BY_CHANCE])
def test_it_begins_at_ln_k_and_steps_downhill_in_either_memory_format(name: str, options: dict[str, Any]) -> None:
    net, (inputs, labels) = build(name, options), batch(name, options)
    first = functional.cross_entropy(net(inputs), labels)
    assert abs(first.item() - math.log(CLASSES)) < 0.2
    net = build(name, options).double()
    before = loss_of(net, inputs.double(), labels)
    before.backward()
    found = grads(net)
    if (name, options) not in BY_CHANCE:
        assert [key for key, grad in found.items() if not grad.any()] == []
    other = build(name, options).double().to(memory_format=torch.channels_last)
    loss_of(other, inputs.double().contiguous(memory_format=torch.channels_last), labels).backward()
    if "dropout" not in options:  # which draws its numbers in the order of the memory
        torch.testing.assert_close(grads(other), found, rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            parameter -= 1e-3 * found[key]
        assert loss_of(net, inputs.double(), labels) < before


@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *BY_CHANCE])
def test_it_trains_in_bfloat16(name: str, options: dict[str, Any]) -> None:
    net, (inputs, labels) = build(name, options), batch(name, options)
    expected = loss_of(net, inputs, labels).item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(net, inputs, labels)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.1, abs=0.05)
    assert all(grad.isfinite().all() for grad in grads(net).values())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [form for form in VARIANTS if form[0] not in LIKE_OTHERS])
def test_it_learns_one_batch_by_heart(name: str, options: dict[str, Any]) -> None:
    net, (inputs, labels) = build(name, options), batch(name, options)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        loss = functional.cross_entropy(net(inputs), labels)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("preact", {"depth": 11, "unit": "bottleneck"}), *TRACED])
def test_it_can_be_exported_for_any_number_of_samples(name: str, options: dict[str, Any]) -> None:
    net, (inputs, _) = build(name, options).eval(), batch(name, options)
    exported = torch.export.export(net, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    torch.testing.assert_close(exported(inputs[:3]), net(inputs[:3]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), TRACED)
def test_it_compiles_as_one_graph_with_the_same_gradients(name: str, options: dict[str, Any]) -> None:
    net, (inputs, labels) = build(name, options).double(), batch(name, options)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    found = []
    for network in (net, compiled):
        net.zero_grad()
        torch.manual_seed(2)
        with_auxiliaries(functional.cross_entropy, net)(network(inputs.double()), labels).backward()
        found.append(grads(net))
    torch._dynamo.reset()
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-9)
