"""What stands behind a hidden layer, in which order, and what a user's own member gets."""

import pytest
import torch
from torch import nn

from trainwell.core.shelves import activations
from trainwell.layers.choosing import gain_of
from trainwell.layers.hidden import Hidden


def kinds(*words: str) -> list[str]:
    return [type(module).__name__ for module in Hidden(*words).behind(8, 2)]  # type: ignore[arg-type]


def test_norm_and_activation_stand_in_the_order_asked_for_and_nothing_stands_for_none() -> None:
    assert kinds("relu", "batch") == ["BatchNorm2d", "ReLU"]
    assert kinds("relu", "batch", "after") == ["ReLU", "BatchNorm2d"]
    assert kinds("tanh", "none") == kinds("tanh", "weight") == ["Tanh"]
    assert kinds("identity", "none") == []


@pytest.mark.parametrize(("order", "channels"), [("before", 24), ("after", 8)])
def test_a_norm_in_front_of_maxout_sees_every_piece(order: str, channels: int) -> None:
    modules = Hidden("maxout:pieces=3", "batch", order).behind(8, 0)  # type: ignore[arg-type]
    assert [module.num_features for module in modules if isinstance(module, nn.BatchNorm1d)] == [channels]


def test_a_layer_needs_its_bias_unless_a_norm_right_behind_it_shifts() -> None:
    needs = {norm: Hidden("relu", norm).needs_bias for norm in ("none", "batch", "group", "weight", "local_response")}
    assert needs == {"none": True, "batch": False, "group": False, "weight": True, "local_response": True}
    assert Hidden("relu", "batch", "after").needs_bias


def test_the_gain_of_an_activation_that_declares_none_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "_cards", {card.name: card for card in activations})

    @activations.card()
    def doubled() -> nn.Module:
        """Twice the number."""

        class Doubled(nn.Module):
            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return 2 * inputs

        return Doubled()

    assert gain_of("doubled") == pytest.approx(0.5, rel=1e-12)
    assert Hidden("doubled", "none").gain == gain_of("doubled")
