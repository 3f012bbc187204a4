"""Heads: what each computes, that the two linear ones are one function, and that they answer at every place."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainwell.core.catalog import Card
from trainwell.core.shelves import models
from trainwell.errors import ModelInvalid
from trainwell.models.heads import CosineHead, dense_scores
from trainwell.models.vgg import vgg

from .rewrites import images

KINDS = ("linear", "conv", "mlp", "cosine")
WITH_HEAD = [card for card in models if "head" in card.options and "preset_of" not in card.traits]


def build(card: Card, head: str, classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    side = card.traits.get("least_side", 16)
    facts: dict[str, Any] = {"in_channels": 3, "num_classes": classes, "input_shape": (3, side, side)}
    net: nn.Module = card.build({**card.traits.get("small", {}), "head": head}, **facts)
    return net.double().eval()


def test_every_published_family_takes_a_head() -> None:
    families = {card.traits["preset_of"] for card in models if "preset_of" in card.traits}
    assert families <= {card.name for card in WITH_HEAD}


@pytest.mark.parametrize("head", KINDS)
@pytest.mark.parametrize("card", WITH_HEAD, ids=lambda card: card.name)
def test_every_network_trains_with_every_head_from_a_first_loss_near_ln_k(card: Card, head: str) -> None:
    side = card.traits.get("least_side", 16)
    net, batch, labels = build(card, head), images(12, 3, side, side), torch.arange(12) % 5
    net.train()
    loss = functional.cross_entropy(net(batch), labels)
    loss.backward()
    assert abs(loss.item() - math.log(5)) < 0.2
    missed = [name for name, p in net.head.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []


@pytest.mark.parametrize("card", WITH_HEAD, ids=lambda card: card.name)
@torch.no_grad()
def test_a_convolution_of_the_same_weights_answers_as_the_pooled_head_does(card: Card) -> None:
    pooled, full = build(card, "linear"), build(card, "conv")
    weights = pooled.state_dict()
    prefix = next(name for name, module in pooled.named_modules() if module is pooled.head)
    weights[f"{prefix}.weight"] = weights[f"{prefix}.weight"][:, :, None, None]
    full.load_state_dict(weights)
    side = 2 * card.traits.get("least_side", 16)
    batch = images(2, 3, side, side + 9)
    torch.testing.assert_close(full(batch), pooled(batch), rtol=1e-10, atol=1e-12)
    for net in (pooled, full):
        dense = dense_scores(net, batch)
        assert dense.shape[2] > 1
        assert dense.shape == (2, 5, *net.maps(batch).shape[2:])
        torch.testing.assert_close(dense.mean((2, 3)), pooled(batch), rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_at_every_place_a_head_answers_as_if_the_maps_ended_there() -> None:
    for head in KINDS:
        net = build(models["cifar_resnet"], head)
        batch = images(2, 3, 32, 24)
        maps, dense = net.maps(batch), dense_scores(net, batch)
        for row, column in ((0, 0), (3, 5), (7, 2)):
            features = maps[:, :, row, column]
            alone = net.head(features[:, :, None, None])[:, :, 0, 0] if head == "conv" else net.head(features)
            torch.testing.assert_close(dense[:, :, row, column], alone, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_cosine_scores_are_the_scaled_cosines_of_the_angles() -> None:
    head, features = CosineHead(6, 4).double(), images(3, 6)
    w = head.weight
    for row in range(3):
        for k in range(4):
            cosine = float(features[row] @ w[k]) / math.sqrt(float(features[row] @ features[row]) * float(w[k] @ w[k]))
            assert float(head(features)[row, k]) == pytest.approx(16 * cosine, rel=1e-12)
    assert torch.allclose(head(5 * features), head(features), rtol=1e-12)


def test_the_hidden_layer_of_an_mlp_head_has_the_networks_activation() -> None:
    net = models.build("resnet20", {"head": "mlp", "activation": "maxout:pieces=2"}, in_channels=3, num_classes=10)
    shapes = {name: tuple(p.shape) for name, p in net.fc.named_parameters()}
    assert shapes == {"0.weight": (128, 64), "0.bias": (128,), "2.weight": (10, 64), "2.bias": (10,)}


@pytest.mark.parametrize("network", [nn.Linear(3, 2), vgg(3, 2, depth=11, width=4)], ids=["no maps", "all places"])
def test_a_network_that_reads_no_single_places_cannot_be_asked_at_each(network: Any) -> None:
    with pytest.raises(ModelInvalid, match="cannot be asked at each place"):
        dense_scores(network, torch.zeros(1, 3, 64, 64))
