"""What every penalty on the shelf must do, whatever its name."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainwell.core.catalog import Card
from trainwell.core.shelves import penalties
from trainwell.errors import OptionInvalid

pytestmark = pytest.mark.parametrize("card", list(penalties), ids=lambda card: card.name)


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3).double()


def value(card: Card, model: nn.Linear, **options: Any) -> Tensor:
    """The whole penalty of one batch."""
    penalty = card.build(options, model=model)
    if card.traits["of"] == "weights":
        return penalty()
    terms: Tensor = penalty(model(torch.linspace(-1, 1, 20).double().reshape(4, 5)))
    assert terms.shape == (4,), "one term a sample"
    return terms.sum()


def test_its_card_says_of_what_it_is(card: Card) -> None:
    assert card.traits["of"] in ("weights", "scores")
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == (("model",) if card.traits["of"] == "weights" else ())


def test_it_is_a_finite_number_above_0_with_a_gradient(card: Card) -> None:
    model = network()
    found = value(card, model, strength=0.1)
    found.backward()
    assert found.ndim == 0
    assert found.item() > 0
    assert model.weight.grad is not None
    assert model.weight.grad.isfinite().all()
    assert model.weight.grad.any()


def test_its_gradient_is_that_of_finite_differences(card: Card) -> None:
    model = network()

    def of(weight: Tensor) -> Tensor:
        moved = network()
        moved.weight = nn.Parameter(weight.detach())
        return value(card, moved, strength=0.1)

    value(card, model, strength=0.1).backward()
    assert model.weight.grad is not None
    step = 1e-6
    for place in ((0, 0), (1, 3), (2, 4)):
        nudge = torch.zeros_like(model.weight)
        nudge[place] = step
        numeric = (of(model.weight + nudge) - of(model.weight - nudge)).item() / (2 * step)
        assert model.weight.grad[place].item() == pytest.approx(numeric, abs=1e-7)


def test_twice_the_strength_is_twice_the_penalty_and_none_is_none(card: Card) -> None:
    one, two, none = (value(card, network(), strength=strength).item() for strength in (0.1, 0.2, 0.0))
    assert two == pytest.approx(2 * one, rel=1e-12)
    assert none == 0


def test_a_strength_below_0_is_refused(card: Card) -> None:
    with pytest.raises(OptionInvalid, match=f"{card.name}:strength must be a number >= 0"):
        card.build({"strength": -1.0}, model=network())


def test_it_changes_nothing_but_gradients(card: Card) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    value(card, model).backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
