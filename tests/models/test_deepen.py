"""Zero units put into a trained residual network leave its scores as they are, bit for bit, and learn from there."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.models.deepen import deepen

from .rewrites import lived_in


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, options, in_channels=3, num_classes=5)


def images(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(2))


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("cifar_resnet", {"depth": 8}),
    ("cifar_resnet", {"depth": 8, "shortcut": "B", "norm": "group:groups=4"}),
    ("cifar_resnet", {"depth": 11, "unit": "bottleneck"}),
    ("cifar_resnet", {"depth": 8, "norm": "none"}),
    ("cifar_resnet", {"depth": 8, "norm": "weight"}),
    ("cifar_resnet", {"depth": 8, "norm": "batch:affine=false"}),
    ("cifar_resnet", {"depth": 8, "norm_order": "after", "activation": "gelu"}),
    ("cifar_resnet", {"depth": 8, "activation": "maxout:pieces=2"}),
    ("cifar_resnet", {"depth": 8, "survival": 0.5}),
    ("resnet", {"depth": 18, "width": 8}),
    ("resnet", {"depth": 50, "width": 8, "stride_at": "first", "bottleneck_width": 2}),
    ("preact", {"depth": 8, "activation": "elu"}),
    ("preact", {"depth": 11, "unit": "bottleneck", "shortcut": "A"}),
    ("preact", {"depth": 8, "activation": "maxout:pieces=2", "norm": "weight"}),
    ("preact_resnet", {"depth": 18, "width": 8, "activation": "elu"}),
    ("wide_resnet", {"depth": 10, "widening": 1, "dropout": 0.3}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_scores_stay_bit_for_bit_and_the_new_units_learn(name: str, options: dict[str, Any]) -> None:
    net, batch = lived_in(build(name, **options)).float(), images()
    names = set(net.state_dict())
    deeper = deepen(net, units=2)
    assert not deeper.training
    with torch.no_grad():
        assert torch.equal(deeper(batch), net(batch))
    assert set(net.state_dict()) == names
    assert [len(stage) for stage in deeper.stages] == [len(stage) + 2 for stage in net.stages]
    assert deeper.layout.units == tuple(len(stage) for stage in deeper.stages)
    new = {key: p for key, p in deeper.named_parameters() if key not in dict(net.named_parameters())}
    assert all(p.grad is None for p in deeper.parameters())
    functional.cross_entropy(deeper(batch), torch.arange(4)).backward()
    for stage in range(len(deeper.stages)):
        grads = [p.grad for key, p in new.items() if key.startswith(f"layer{stage + 1}.")]
        assert any(grad is not None and bool(grad.any()) for grad in grads)


def test_trained_on_the_deeper_network_does_no_worse_than_the_one_it_came_from() -> None:
    net, batch, labels = build("cifar_resnet", depth=8), images(20, 8), torch.arange(20) % 5

    def train(net: nn.Module, steps: int) -> float:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(steps):
            loss = functional.cross_entropy(net(batch), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    before = train(net, 10)
    assert train(deepen(net), 10) < before


def test_what_cannot_be_deepened_is_refused_with_a_cure() -> None:
    with pytest.raises(ModelInvalid, match=r"layer1.1 cannot begin as the identity: tanh acts on what it gave itself"):
        deepen(build("cifar_resnet", depth=8, activation="tanh"))
    with pytest.raises(ModelInvalid, match=r"layer1.1 cannot begin as the identity: with shortcut=C every skip is"):
        deepen(build("cifar_resnet", depth=8, shortcut="C"))
    with pytest.raises(ModelInvalid, match=r"layer1.1 could never learn: relu passes no gradient at the zero"):
        deepen(build("cifar_resnet", depth=8, norm="none", norm_order="after"))
    with pytest.raises(ModelInvalid, match="deepen works on residual networks of this shelf, got Linear"):
        deepen(nn.Linear(1, 1))
    with pytest.raises(OptionInvalid, match="units must be at least 1, got 0"):
        deepen(build("cifar_resnet", depth=8), units=0)
