"""What an optimizer is given is refused by name before anything moves: parameters, groups, gradients, old state."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from trainwell.core.catalog import Card
from trainwell.core.shelves import optimizers
from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.parameters import KEYS, Carded, check_gradients, refuse_nonfinite_gradients
from trainwell.optimizers.sgd import sgd


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_step_is_refused_by_name_and_nothing_moves(value: float) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    optimizer = sgd(net.named_parameters())
    handle = refuse_nonfinite_gradients(optimizer)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    net(torch.ones(3, 2)).sum().backward()
    assert net[1].bias.grad is not None
    net[1].bias.grad.fill_(value)
    with pytest.raises(NonFinite, match=r"gradient of 1\.bias holds NaN or Inf"):
        optimizer.step()
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), before, strict=True))
    handle.remove()
    optimizer.step()
    assert not torch.isfinite(net[1].bias).all()


def test_parameters_without_names_are_named_by_their_place() -> None:
    fine, bad = (torch.ones(1, requires_grad=True) for _ in range(2))
    fine.grad, bad.grad = torch.ones(1), torch.tensor([float("nan")])
    with pytest.raises(NonFinite, match="parameter 0 of group 1"):
        check_gradients([{"params": [fine]}, {"params": [bad]}])


def test_large_finite_gradients_pass() -> None:
    weight = torch.ones(4, requires_grad=True)
    weight.grad = torch.full((4,), 3e38)  # whose square overflows
    check_gradients([{"params": [weight]}])


def weights(count: int) -> list[Tensor]:
    return [torch.ones(2, requires_grad=True) for _ in range(count)]


everything = pytest.mark.parametrize("card", list(optimizers), ids=lambda card: card.name)
of_torch = pytest.mark.parametrize(
    "card",
    [card for card in optimizers if isinstance(card.build({}, params=weights(1)), Carded)],
    ids=lambda card: card.name,
)


@everything
def test_parameters_with_gaps_or_shared_entries_are_refused_by_name(card: Card) -> None:
    base = torch.ones(3, 4)
    for view in (base[:, :2], base[::2], base[:1].expand(3, 4)):
        with pytest.raises(OptionInvalid, match=r"head\.weight has gaps in memory, or entries that share it"):
            card.build({}, params=[("head.weight", view.detach().requires_grad_())])
    for dense in (base.t(), base[1:], base[:, :0], torch.ones(3, 1).expand(3, 1), torch.ones(())):
        card.build({}, params=[dense.detach().requires_grad_()])


@everything
def test_a_key_of_a_group_that_is_nearly_an_option_is_refused(card: Card) -> None:
    for key, option in [("Lr", "lr"), ("weigth_decay", "weight_decay"), ("momentun", "momentum"), ("beta_1", "beta1")]:
        group = {"params": weights(1), key: 0.5}
        if option not in card.options:
            continue
        with pytest.raises(OptionInvalid, match=f"group 0 says {key!r}, .* did you mean {option!r}"):
            card.build({}, params=[group])
        with pytest.raises(OptionInvalid, match=f"group [01] says {key!r}, .* did you mean {option!r}"):
            card.build({}, params=weights(1)).add_param_group(group)


@everything
def test_other_keys_of_a_group_are_left_alone(card: Card) -> None:
    values = {"reasons": {}, "lr_factor": 2.0, "initial_lr": 0.1, "is_exempt": True, "places": [1], "my_note": "head"}
    assert values.keys() - KEYS == {"my_note"}
    optimizer = card.build({}, params=[{"params": weights(1), **values}])
    assert values.items() <= optimizer.param_groups[0].items()


def test_every_card_over_an_optimizer_of_torchs_is_meant_below() -> None:
    """Nothing that the shelf makes adds groups in torch's way, which looks at no value."""
    for card in optimizers:
        kind = type(card.build({}, params=weights(1)))
        assert kind.add_param_group is not torch.optim.Optimizer.add_param_group, card.name


def later_faults(card: Card) -> list[tuple[dict[str, Any], str]]:
    faults = [
        ({"params": []}, "group 1 has no parameters"),
        ({"params": weights(1), "lr": -1.0}, r"group 1:lr must be a number > 0, got -1\.0"),
        ({"params": [torch.ones(2, dtype=torch.int64)]}, "parameter 0 of group 1 holds torch.int64"),
        ({"params": [torch.ones(2).expand(3, 2).requires_grad_()]}, "gaps in memory"),
    ]
    for name in ("beta1", "beta2", "beta", "momentum"):
        if name in card.options:
            faults.append(({"params": weights(1), name: 7.0}, f"{name} must be a number"))
    if "beta1" in card.options:
        faults.append(({"params": weights(1), "betas": (0.9, 7.0)}, "beta2 must be a number"))
    if "eps_inside" in card.options:
        faults.append(({"params": weights(1), "eps_inside": True}, "eps_inside holds for all groups"))
    if "nesterov" in card.options:
        faults.append(({"params": weights(1), "momentum": 0.0}, "nesterov looks ahead"))
    return faults


@of_torch
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("copied", [lambda it: it, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_later_group_is_held_to_the_card_by_copies_too(card: Card, device: str, copied: Any) -> None:
    first = torch.ones(2, device=device, requires_grad=True)
    for group, words in later_faults(card):
        optimizer = copied(card.build({}, params=[first]))
        with pytest.raises(OptionInvalid, match=words):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == 1
    with pytest.raises(OptionInvalid, match="must be a dict"):
        card.build({}, params=[first]).add_param_group(weights(1))


@of_torch
def test_options_of_a_later_group_act_as_those_of_a_first_one(card: Card) -> None:
    for name in card.options.keys() & {"beta1", "beta2", "beta", "momentum", "eps", "weight_decay", "lr"}:
        ends = []
        for at_once in (True, False):
            own, other = weights(2)
            group = {"params": own, name: 0.4}  # one tensor is as good as a list
            optimizer = card.build({}, params=[{"params": other}, group] if at_once else [other])
            if not at_once:
                optimizer.add_param_group(group)
            for step in range(4):
                own.grad, other.grad = torch.full((2,), 1.0 + step), torch.ones(2)
                optimizer.step()
            ends.append(own.detach())
        assert torch.equal(*ends), name


def test_a_later_group_is_held_to_the_form_with_eps_inside() -> None:
    optimizer = copy.deepcopy(optimizers.build("rmsprop", {"eps_inside": True}, params=weights(1)))
    for own, words in [
        ({"eps_inside": False}, "eps_inside holds for all groups: it is true"),
        ({"lr": -1.0}, "rmsprop, group 1:lr must be"),
        ({"beta": 7.0}, "beta must be"),
    ]:
        with pytest.raises(OptionInvalid, match=words):
            optimizer.add_param_group({"params": weights(1), **own})


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam", "adagrad"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_that_is_cast_after_some_steps_is_refused_and_no_step_counted(
    name: str, steps: int, dtype: torch.dtype
) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = optimizers.build(name, {}, params=net.named_parameters())

    def step() -> None:
        optimizer.zero_grad()
        net(torch.ones(4, 3, dtype=net.weight.dtype)).square().sum().backward()
        optimizer.step()

    for _ in range(steps):
        step()
    net.to(dtype)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for _ in range(2):
        with pytest.raises(OptionInvalid, match=f"{name}: weight is {dtype} on cpu, and its state .* is torch.float32"):
            step()
    assert all(torch.equal(now, old) for now, old in zip(net.parameters(), before, strict=True))
    counts = [state["step"].item() for state in optimizer.state.values() if "step" in state]
    assert set(counts) <= {float(steps)}
    optimizer.load_state_dict(optimizer.state_dict())
    step()
    assert not torch.equal(net.weight, before[0])
