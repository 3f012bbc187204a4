"""Networks of every activation and norm are saved, loaded and folded to the same answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trainwell as tw
from trainwell.core.catalog import Card
from trainwell.core.shelves import activations, norms
from trainwell.train.reporter import Silence

from .conftest import Saved

Make = Callable[..., Saved]

ROWS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 100
IMAGES = torch.randint(0, 256, (5, 3, 16, 12), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


def comes_back(made: Saved, samples: torch.Tensor) -> None:
    want, got = made.logits(samples), made.load().logits(samples)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("name", [card.name for card in activations])
def test_every_activation_comes_back(saved: Make, name: str) -> None:
    comes_back(saved(model=f"convnet:width=4,activation={name}"), IMAGES)


@pytest.mark.parametrize("name", [card.name for card in activations])
def test_every_activation_of_features_comes_back(saved: Make, name: str) -> None:
    comes_back(saved(model=f"mlp:hidden=[8, 8],activation={name}", form=None, shape=(6,)), ROWS)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("card", list(norms), ids=lambda card: card.name)
def test_every_norm_comes_back_in_either_place(saved: Make, card: Card, order: str) -> None:
    options = f":{card.traits['divides_channels']}=4" if "divides_channels" in card.traits else ""
    comes_back(saved(model=f"convnet:width=4,norm={card.name}{options},norm_order={order}"), IMAGES)


@pytest.mark.parametrize("model", ["mlp:hidden=[8, 8],norm=weight", "mlp:hidden=[8, 8],norm=batch,norm_order=after"])
def test_norms_of_features_come_back(saved: Make, model: str) -> None:
    comes_back(saved(model=model, form=None, shape=(6,)), ROWS)


def test_a_run_with_weight_norm_starts_on_its_data_and_is_answered_for_as_it_was_trained(tmp_path: Path) -> None:
    rows, labels = ROWS.repeat(8, 1).numpy() + np.arange(40)[:, None], np.arange(40) % 2
    run = tw.fit(
        (rows.astype(np.float32), labels), model="mlp:hidden=[8, 8],norm=weight,activation=selu", epochs=1,
        out=tmp_path / "run", reporter=Silence(), set={"machine.threads": 1},
    )  # fmt: skip
    assert run.model is not None
    assert "body.0.parametrizations.weight.original0" in dict(run.model.named_parameters())
    classifier = tw.load(run.path)
    samples = torch.from_numpy(rows).float()
    with torch.no_grad():
        want = run.model.eval()(classifier.preprocessing.apply(samples))
    torch.testing.assert_close(classifier.logits(samples), want, rtol=1e-4, atol=1e-5)


def test_a_loaded_classifier_computes_with_plain_weights_where_training_used_weight_norm(saved: Make) -> None:
    loaded = saved(model="convnet:width=4,norm=weight").load()
    assert {type(module) for module in loaded.model.modules() if isinstance(module, nn.Conv2d)} == {nn.Conv2d}
