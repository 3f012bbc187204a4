"""What every optimizer on the shelf must do, whatever its name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.nn import functional

from trainwell.core.catalog import Card
from trainwell.core.shelves import optimizers
from trainwell.errors import OptionInvalid

pytestmark = pytest.mark.parametrize("card", list(optimizers), ids=lambda card: card.name)

Problem = tuple[list[Tensor], Callable[[], Tensor]]
UNDECAYED = {"weight_decay": 0.0}


def quadratic() -> Problem:
    """A bowl of condition 100 around (1, -2)."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    curvature, lowest = torch.tensor([0.05, 5.0]), torch.tensor([1.0, -2.0])
    return [x], lambda: (curvature * (x - lowest) ** 2).sum() / 2


def valley() -> Problem:
    """Rosenbrock's curved valley."""
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)
    return [x], lambda: ((1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2) / 20


def regression() -> Problem:
    """Multinomial logistic regression on random points of three clouds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    points = torch.randn(60, 4, generator=generator, dtype=torch.float64) + 4 * functional.one_hot(labels, 4)
    weight = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    return [weight, bias], lambda: functional.cross_entropy(points @ weight.T + bias, labels)


def two_layers() -> Problem:
    """XOR with four hidden tanh units."""
    generator = torch.Generator().manual_seed(1)
    points = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 4), (4,), (4, 2))]
    first, bias, second = (weight.requires_grad_() for weight in weights)
    return [first, bias, second], lambda: functional.cross_entropy((points @ first + bias).tanh() @ second, labels)


def options_for(card: Card, lr: float) -> dict[str, Any]:
    return {"lr": lr} | {name: value for name, value in UNDECAYED.items() if name in card.options}


def descend(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return loss().item()


@pytest.mark.parametrize("problem", [quadratic, valley, regression, two_layers])
def test_it_goes_downhill(card: Card, problem: Callable[[], Problem]) -> None:
    """At its default rate, or ten times that, 400 steps take off at least nine tenths of the loss."""
    left = []
    for factor in (1, 10):
        params, loss = problem()
        start = loss().item()
        optimizer = card.build(options_for(card, card.options["lr"].default * factor), params=params)
        left.append(descend(optimizer, loss, 400) / start)
    assert any(share < 0.1 for share in left)


def test_a_restored_state_goes_on_to_the_same_bits(card: Card) -> None:
    params, loss = two_layers()
    twins, twin_loss = two_layers()
    optimizer, first = card.build({}, params=params), card.build({}, params=twins)
    descend(optimizer, loss, 20)
    descend(first, twin_loss, 12)
    second = card.build({}, params=twins)
    second.load_state_dict(first.state_dict())
    descend(second, twin_loss, 8)
    assert all(torch.equal(one, other) for one, other in zip(params, twins, strict=True))


def test_the_same_problem_gives_the_same_bits(card: Card) -> None:
    runs = [two_layers() for _ in range(2)]
    for params, loss in runs:
        descend(card.build({}, params=params), loss, 10)
    assert all(torch.equal(one, other) for one, other in zip(runs[0][0], runs[1][0], strict=True))


def test_parameters_without_gradient_keep_every_bit(card: Card) -> None:
    moved, kept = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[moved, kept])
    for _ in range(3):
        moved.grad, kept.grad = torch.ones(3), None
        optimizer.step()
    assert torch.equal(kept, torch.ones(3))
    assert not torch.equal(moved, torch.ones(3))


def test_a_gradient_may_appear_at_any_step(card: Card) -> None:
    first, later = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[first, later])
    for step in range(4):
        first.grad = torch.ones(3)
        later.grad = torch.ones(3) if step >= 2 else None
        optimizer.step()
    assert (later < 1).all()


def test_each_group_keeps_its_own_rate_and_decay(card: Card) -> None:
    still, moved = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[{"params": [still]}, {"params": [moved]}])
    optimizer.param_groups[0]["lr"] = 0.0
    still.grad, moved.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert torch.equal(still, torch.ones(2))
    assert (moved < 1).all()


def test_a_new_rate_holds_from_the_next_step_on(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = card.build({}, params=[weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    before = weight.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    assert torch.equal(weight, before)


def test_the_hooks_of_a_step_are_called_once(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    optimizer, calls = card.build({}, params=[weight]), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step()
    assert calls == ["before", "after"]


def test_every_declared_range_is_refused_outside_with_the_words(card: Card) -> None:
    checked = 0
    for option in card.options.values():
        for outside, words in values_outside(option.annotation):
            with pytest.raises(OptionInvalid) as caught:
                card.build({option.name: outside}, params=[torch.ones(1, requires_grad=True)])
            assert f"{card.name}:{option.name} must be {option.allowed}, got {outside!r}" in str(caught.value)
            assert words in option.allowed
            checked += 1
    assert checked >= 1


def values_outside(annotation: Any) -> list[tuple[float, str]]:
    outside: list[tuple[float, str]] = []
    for bound in getattr(annotation, "__metadata__", ()):
        if isinstance(bound, Gt):
            outside.append((bound.gt, f"> {bound.gt}"))
        if isinstance(bound, Ge):
            outside.append((bound.ge - 1e-3, f">= {bound.ge}"))
        if isinstance(bound, Lt):
            outside.append((bound.lt, f"< {bound.lt}"))
        if isinstance(bound, Le):
            outside.append((bound.le + 1e-3, f"<= {bound.le}"))
    return [*outside, (float("nan"), "a number"), (float("inf"), "a number")] if outside else []


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == ("params",)
    assert "lr" in card.options
