"""What every optimizer on the shelf must do, whatever its name."""

import copy
import json
import math
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

Graph = tuple[Tensor, Tensor]  # the loss, and the outputs that it is a convex function of
Problem = tuple[list[Tensor], Callable[[], Graph]]
UNDECAYED = {"weight_decay": 0.0}


def quadratic() -> Problem:
    """A bowl of condition 100 around (1, -2)."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    curvature, lowest = torch.tensor([0.05, 5.0]), torch.tensor([1.0, -2.0])

    def evaluate() -> Graph:
        away = x - lowest
        return (curvature * away**2).sum() / 2, away

    return [x], evaluate


def valley() -> Problem:
    """Rosenbrock's curved valley."""
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)

    def evaluate() -> Graph:
        residuals = torch.stack([1 - x[0], math.sqrt(10) * (x[1] - x[0] ** 2)])
        return (residuals**2).sum() / 20, residuals

    return [x], evaluate


def regression() -> Problem:
    """Multinomial logistic regression on random points of three clouds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    points = torch.randn(60, 4, generator=generator, dtype=torch.float64) + 4 * functional.one_hot(labels, 4)
    weight = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def evaluate() -> Graph:
        scores = points @ weight.T + bias
        return functional.cross_entropy(scores, labels), scores

    return [weight, bias], evaluate


def two_layers(dtype: torch.dtype = torch.float64) -> Problem:
    """XOR with four hidden tanh units."""
    generator = torch.Generator().manual_seed(1)
    points = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=dtype)
    labels = torch.tensor([0, 1, 1, 0])
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 4), (4,), (4, 2))]
    first, bias, second = (weight.to(dtype).requires_grad_() for weight in drawn)

    def evaluate() -> Graph:
        scores = (points @ first + bias).tanh() @ second
        return functional.cross_entropy(scores, labels), scores

    return [first, bias, second], evaluate


def options_for(card: Card, lr: float) -> dict[str, Any]:
    return {"lr": lr} | {name: value for name, value in UNDECAYED.items() if name in card.options}


def descend(optimizer: torch.optim.Optimizer, evaluate: Callable[[], Graph], steps: int) -> float:
    """Do some steps as a plain loop would, and return the loss; the closure is for those who look more than once."""
    for _ in range(steps):
        optimizer.zero_grad()
        evaluate()[0].backward()
        optimizer.step(evaluate)
    return evaluate()[0].item()


def pull(optimizer: torch.optim.Optimizer, *pulled: Tensor) -> None:
    """One step in the bowl |x|^2 / 2 over some parameters, which stand at about one; the others have no gradient."""

    def evaluate() -> Graph:
        outputs = torch.cat([parameter.flatten() for parameter in pulled])
        return (outputs**2).sum() / 2, outputs

    optimizer.zero_grad()
    evaluate()[0].backward()
    optimizer.step(evaluate)


def refused(act: Callable[[], object]) -> str:
    """The words with which something is refused, or the empty string."""
    try:
        act()
    except OptionInvalid as error:
        return str(error)
    return ""


@pytest.mark.parametrize("problem", [quadratic, valley, regression, two_layers])
def test_it_goes_downhill(card: Card, problem: Callable[[], Problem]) -> None:
    """At its default rate, ten times or a tenth of that, 420 steps or fewer take off at least nine tenths of the loss.

    Those that look at the curvature get 30.
    """
    left, rounds = [], 1 if card.traits.get("needs_closure") else 14
    for factor in (1, 10, 0.1):
        params, evaluate = problem()
        start = evaluate()[0].item()
        optimizer = card.build(options_for(card, card.options["lr"].default * factor), params=params)
        for _ in range(rounds):
            left.append(descend(optimizer, evaluate, 30) / start)
            if left[-1] < 0.1:
                return
    raise AssertionError(left)


def test_a_restored_state_goes_on_to_the_same_bits(card: Card) -> None:
    params, evaluate = two_layers()
    twins, evaluate_twin = two_layers()
    optimizer, first = card.build({}, params=params), card.build({}, params=twins)
    descend(optimizer, evaluate, 20)
    descend(first, evaluate_twin, 12)
    second = card.build({}, params=twins)
    second.load_state_dict(first.state_dict())
    descend(second, evaluate_twin, 8)
    assert all(torch.equal(one, other) for one, other in zip(params, twins, strict=True))


def test_its_state_is_tensors_and_plain_values_that_steps_replace(card: Card) -> None:
    """A shallow copy, with tensors cloned, is a snapshot; JSON and safetensors can hold it."""
    params, evaluate = two_layers()
    optimizer = card.build({}, params=params)
    descend(optimizer, evaluate, 3)
    copies = [copied(state) for state in (*optimizer.state.values(), *optimizer.param_groups)]
    kept = copy.deepcopy(copies)
    descend(optimizer, evaluate, 3)
    for now, before in zip(copies, kept, strict=True):
        for name, value in before.items():
            if isinstance(value, Tensor):
                assert torch.equal(value, now[name])
            else:
                assert json.dumps(value) == json.dumps(now[name])


def copied(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items() if key != "params"
    }


def test_a_snapshot_put_back_goes_on_to_the_same_bits(card: Card) -> None:
    """The state is taken away and given back as new tensors, as a rollback does."""
    params, evaluate = two_layers()
    optimizer = card.build({}, params=params)
    descend(optimizer, evaluate, 5)
    weights = [parameter.detach().clone() for parameter in params]
    states = {parameter: copied(state) for parameter, state in optimizer.state.items()}
    groups = [copied(group) for group in optimizer.param_groups]
    ends = []
    for _ in range(2):
        with torch.no_grad():
            for parameter, weight in zip(params, weights, strict=True):
                parameter.copy_(weight)
        optimizer.state.clear()
        for parameter, state in states.items():
            optimizer.state[parameter] = copied(state)
        for group, saved in zip(optimizer.param_groups, groups, strict=True):
            group.update(saved)
        descend(optimizer, evaluate, 5)
        ends.append([parameter.detach().clone() for parameter in params])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_a_deep_copy_goes_on_alone_to_the_same_bits(card: Card) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = card.build({}, params=net.parameters())
    inputs = torch.ones(4, 3)

    def descend_net(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        def evaluate() -> Graph:
            outputs = net(inputs)
            return (outputs**2).mean(), outputs

        descend(optimizer, evaluate, 3)

    descend_net(net, optimizer)
    twin, twin_optimizer = copy.deepcopy((net, optimizer))
    before = net.weight.detach().clone()
    descend_net(twin, twin_optimizer)
    assert torch.equal(net.weight, before)
    descend_net(net, optimizer)
    assert torch.equal(net.weight, twin.weight)


def test_the_same_problem_gives_the_same_bits(card: Card) -> None:
    runs = [two_layers() for _ in range(2)]
    for params, evaluate in runs:
        descend(card.build({}, params=params), evaluate, 10)
    assert all(torch.equal(one, other) for one, other in zip(runs[0][0], runs[1][0], strict=True))


def test_parameters_without_gradient_keep_every_bit(card: Card) -> None:
    moved, kept = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[moved, kept])
    for _ in range(3):
        pull(optimizer, moved)
    assert torch.equal(kept, torch.ones(3))
    assert not torch.equal(moved, torch.ones(3))


def test_a_gradient_may_appear_at_any_step(card: Card) -> None:
    first, later = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[first, later])
    for step in range(4):
        pull(optimizer, *([first, later] if step >= 2 else [first]))
    assert (later < 1).all()


def test_gradients_are_left_as_they_are(card: Card) -> None:
    params, evaluate = two_layers()
    optimizer = card.build({}, params=params)
    descend(optimizer, evaluate, 2)
    optimizer.zero_grad()
    evaluate()[0].backward()
    before = [parameter.grad.clone() for parameter in params if parameter.grad is not None]
    optimizer.step(evaluate)
    assert all(torch.equal(parameter.grad, kept) for parameter, kept in zip(params, before, strict=True))


def test_a_group_keeps_its_own_rate(card: Card) -> None:
    still, moved = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = card.build({}, params=[{"params": [still]}, {"params": [moved]}])
    optimizer.param_groups[0]["lr"] = 0.0
    pull(optimizer, still, moved)
    assert torch.equal(still, torch.ones(2))
    assert (moved < 1).all()


def test_options_of_a_group_act_or_are_refused(card: Card) -> None:
    """Each number of a group that differs from the default gives another path, or an error that names it."""
    for option in card.options.values():
        if isinstance(option.default, bool) or not isinstance(option.default, float) or option.name == "lr":
            continue
        value = other_value(option.annotation, option.default)
        (alone, evaluate), (grouped, evaluate_grouped) = two_layers(), two_layers()
        optimizer = card.build({option.name: value}, params=alone)
        group = {"params": grouped, option.name: value}
        words = refused(lambda group=group: card.build({}, params=[group]))
        if words:
            assert option.name in words
            continue
        ends = [
            descend(optimizer, evaluate, 6),
            descend(card.build({}, params=[group]), evaluate_grouped, 6),
        ]
        assert ends[0] == ends[1], option.name


def other_value(annotation: Any, default: float) -> float:
    """Another value inside the range."""
    bounds = getattr(annotation, "__metadata__", ())
    below_one = any(
        isinstance(bound, Lt | Le) and getattr(bound, "lt", getattr(bound, "le", 0)) <= 1 for bound in bounds
    )
    return 0.5 * default + 0.25 if below_one else 2 * default + 1e-3


def test_a_new_rate_holds_from_the_next_step_on(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = card.build({}, params=[weight])
    pull(optimizer, weight)
    before = weight.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    pull(optimizer, weight)
    if "momentum" in str(card.traits.get("keeps", "")):  # a velocity that was built at the old rate runs on
        return
    assert torch.equal(weight, before)


def test_a_scheduler_of_torch_drives_it(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = card.build({}, params=[weight])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        pull(optimizer, weight)
        scheduler.step()
    assert rates == [rates[0], rates[0], rates[0] / 2, rates[0] / 2]


def test_maximize_climbs_what_minimize_descends(card: Card) -> None:
    """Climbing -f is descending f, to the bit; who needs the curvature of a convex loss cannot climb, and says so."""
    params, evaluate = two_layers()
    twins, evaluate_twin = two_layers()
    if card.traits.get("needs_closure"):
        assert "maximize" not in card.options
        return

    def negated() -> Graph:
        loss, outputs = evaluate_twin()
        return -loss, outputs

    descend(card.build({}, params=params), evaluate, 5)
    descend(card.build({"maximize": True}, params=twins), negated, 5)
    assert all(torch.equal(one, other) for one, other in zip(params, twins, strict=True))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the compiler imports them itself
def test_it_works_around_a_compiled_step(card: Card) -> None:
    if card.traits.get("needs_closure"):
        pytest.skip("second-order members differentiate the graph themselves")
    ends = []
    for compile in (lambda function: function, lambda function: torch.compile(function, backend="eager")):
        params, evaluate = two_layers(torch.float32)
        optimizer = card.build({}, params=params)

        def step(evaluate: Callable[[], Graph] = evaluate, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            evaluate()[0].backward()
            optimizer.step()

        compiled = compile(step)
        for _ in range(3):
            compiled()
        ends.append(params)
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other)


def test_the_hooks_of_a_step_are_called_once(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer, calls = card.build({}, params=[weight]), []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    pull(optimizer, weight)
    assert calls == ["before", "after"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_lower_precision_move_or_are_refused(card: Card, dtype: torch.dtype) -> None:
    params, evaluate = two_layers(dtype)
    before = [parameter.detach().clone() for parameter in params]
    words = refused(lambda: descend(card.build({}, params=params), evaluate, 3))
    if words:
        assert dtype == torch.bfloat16
        assert str(dtype) in words
        return
    assert all(torch.isfinite(parameter).all() for parameter in params)
    assert not all(torch.equal(parameter, old) for parameter, old in zip(params, before, strict=True))


def test_parameters_of_several_types_are_handled_or_refused_in_words(card: Card) -> None:
    single, double = torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.float64, requires_grad=True)

    def evaluate() -> Graph:
        outputs = torch.cat([single.double(), double])
        return (outputs**2).sum() / 2, outputs

    words = refused(lambda: descend(card.build({}, params=[single, double]), evaluate, 1))
    if words:
        assert "float32" in words
        assert "float64" in words
        return
    assert (single < 1).all()
    assert (double < 1).all()


def test_a_network_that_is_cast_after_some_steps_goes_on_or_is_refused_in_words(card: Card) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = card.build({}, params=net.parameters())

    def evaluate() -> Graph:
        outputs = net(torch.ones(4, 3, dtype=net.weight.dtype))
        return (outputs**2).mean(), outputs

    descend(optimizer, evaluate, 3)
    net.double()
    before = net.weight.detach().clone()
    words = refused(lambda: descend(optimizer, evaluate, 1))
    if words:
        assert "float64" in words
        assert torch.equal(net.weight, before)
        return
    assert net.weight.isfinite().all()
    assert not torch.equal(net.weight, before)


def test_what_cannot_be_trained_is_refused_by_name(card: Card) -> None:
    weight = torch.ones(2, requires_grad=True)
    cases: list[tuple[Any, str]] = [
        ([], "params is empty"),
        (weight, "got one tensor"),
        ([weight, weight], "twice a step"),
        ([{"params": [weight]}, {"params": [weight]}], "twice a step"),
        ([{"params": [weight]}, {"params": []}], "group 1 has no parameters"),
        ([("head.bias", torch.ones(2, dtype=torch.complex64, requires_grad=True))], "head.bias is complex"),
        ([("table", torch.eye(2).to_sparse().requires_grad_())], "table is a sparse tensor"),
        ([("counts", torch.ones(2, dtype=torch.int64))], "counts holds torch.int64"),
        ([weight * 2], "is the result of an operation"),
        (["weight"], "must be a tensor, got str"),
        ([{"params": [weight], "lr": -1.0}], "lr must be a number > 0, got -1.0"),
        ([{"params": [weight], "lr": 0.0}], "lr must be a number > 0, got 0.0"),
    ]
    for params, words in cases:
        with pytest.raises(OptionInvalid, match=words):
            card.build({}, params=params)


def test_a_group_added_later_is_checked_too(card: Card) -> None:
    weight, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = card.build({}, params=[weight])
    with pytest.raises(ValueError, match=r"twice a step|more than one parameter group"):
        optimizer.add_param_group({"params": [weight]})
    optimizer.add_param_group({"params": [other]})
    pull(optimizer, weight, other)
    assert (other < 1).all()


def test_a_sparse_gradient_is_refused_in_words(card: Card) -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = card.build({}, params=table.named_parameters())

    def evaluate() -> Graph:
        row = table(torch.tensor([1]))
        return (row**2).sum() / 2, row

    evaluate()[0].backward()
    before = table.weight.detach().clone()
    with pytest.raises(OptionInvalid, match="weight is sparse"):
        optimizer.step(evaluate)
    assert torch.equal(table.weight, before)


def test_a_closure_is_called_with_gradients_enabled_and_its_result_returned(card: Card) -> None:
    params, evaluate = two_layers()
    optimizer, called = card.build({}, params=params), []

    def closure() -> Graph:
        called.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss, outputs = evaluate()
        if not card.traits.get("needs_closure"):
            loss.backward()
        return loss, outputs

    before = evaluate()[0].item()
    result: Any = optimizer.step(closure)
    assert called[0]
    assert (result[0] if isinstance(result, tuple) else result).item() == before


def test_a_closure_that_is_needed_and_missing_is_asked_for(card: Card) -> None:
    if not card.traits.get("needs_closure"):
        pytest.skip("does without")
    params, evaluate = two_layers()
    optimizer = card.build({}, params=params)
    evaluate()[0].backward()
    with pytest.raises(OptionInvalid, match="closure"):
        optimizer.step()


def test_every_declared_range_is_refused_outside_with_the_words(card: Card) -> None:
    checked = 0
    for option in card.options.values():
        for outside, words in values_outside(option.annotation):
            with pytest.raises(OptionInvalid) as caught:
                card.build({option.name: outside}, params=[torch.ones(1, requires_grad=True)])
            assert f"{card.name}:{option.name} must be {option.allowed}, got {outside!r}" in str(caught.value)
            assert words in option.allowed
            with pytest.raises(OptionInvalid, match=f":{option.name} must be"):
                card.builder([torch.ones(1, requires_grad=True)], **{option.name: outside})
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
    return [*outside, (float("nan"), "number"), (float("inf"), "number")] if outside else []


def test_its_card_says_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.summary.endswith(".")
    assert card.source
    assert card.needs == ("params",)
    assert "lr" in card.options
