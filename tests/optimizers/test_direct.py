"""Kept lists change no bit of torch's fused steps, and whatever makes them stale is noticed."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from trainwell.errors import OptionInvalid
from trainwell.optimizers.adaptive import adamw
from trainwell.optimizers.direct import Direct, DirectAdamW, DirectSGD, WatchedState
from trainwell.optimizers.sgd import sgd

Step = Callable[[], Any]
SGD = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "fused": True}
ADAMW = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.05, "fused": True}
PAIRS = [(DirectSGD, torch.optim.SGD, SGD), (DirectAdamW, torch.optim.AdamW, ADAMW)]
pairs = pytest.mark.parametrize(("ours", "torchs", "options"), PAIRS, ids=["sgd", "adamw"])


def network(memory_format: torch.memory_format = torch.contiguous_format) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.PReLU(), nn.Flatten(), nn.Linear(5 * 36, 7))
    return net.to(memory_format=memory_format)  # type: ignore[call-overload,no-any-return]


def images(steps: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield torch.randn(4, 3, 8, 8, generator=generator)


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[Tensor]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        net(batch).square().mean().backward()
        optimizer.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def is_kept(optimizer: torch.optim.Optimizer) -> bool:
    assert isinstance(optimizer, Direct)
    return bool(optimizer._lists) and not optimizer._watch.is_broken


@pairs
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_200_steps_are_bit_equal_to_torchs_fused(
    ours: Any, torchs: Any, options: dict[str, Any], memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    """Sizes that fill no vector register (5, 7, 35 numbers) are rounded as torch rounds them."""
    nets = [network(memory_format).to(dtype) for _ in range(2)]
    optimizers = [kind(net.parameters(), **options) for kind, net in zip((ours, torchs), nets, strict=True)]
    for net, optimizer in zip(nets, optimizers, strict=True):
        descend(net, optimizer, (batch.to(dtype) for batch in images(200)))
    assert is_kept(optimizers[0])
    assert same(*nets)
    for mine, theirs in zip(*(o.state.values() for o in optimizers), strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pairs
def test_groups_with_their_own_rate_and_decay_and_a_schedule_act_as_in_torch(
    ours: Any, torchs: Any, options: dict[str, Any]
) -> None:
    nets, steppers = [network() for _ in range(2)], []
    for kind, net in zip((ours, torchs), nets, strict=True):
        params = list(net.parameters())
        groups = [{"params": params[:3], "lr": 0.2, "maximize": True}, {"params": params[3:], "weight_decay": 0.0}]
        optimizer = kind(groups, **options)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        for batch in images(20):
            descend(net, optimizer, iter([batch]))
            schedule.step()
        steppers.append(optimizer)
    assert is_kept(steppers[0])
    assert same(*nets)


@pairs
def test_state_goes_to_torchs_own_optimizer_and_back(ours: Any, torchs: Any, options: dict[str, Any]) -> None:
    nets = [network() for _ in range(2)]
    optimizer, reference = (kind(net.parameters(), **options) for kind, net in zip((ours, torchs), nets, strict=True))
    for turn in range(4):
        descend(nets[0], optimizer, images(5))
        descend(nets[1], reference, images(5))
        stored = copy.deepcopy(optimizer.state_dict())
        assert stored["param_groups"] == reference.state_dict()["param_groups"]
        assert all(type(state) is dict for state in stored["state"].values())
        optimizer = (torchs, ours)[turn % 2](nets[0].parameters(), **options)
        optimizer.load_state_dict(stored)
    assert same(*nets)


@pairs
@pytest.mark.parametrize(
    "fault", ["none", "later", "turned", "expanded", "data", "state", "entry", "cleared", "format"]
)
def test_what_makes_the_lists_stale_is_noticed(ours: Any, torchs: Any, options: dict[str, Any], fault: str) -> None:
    nets = [network() for _ in range(2)]
    optimizers = [kind(net.parameters(), **options) for kind, net in zip((ours, torchs), nets, strict=True)]
    for net, optimizer in zip(nets, optimizers, strict=True):
        if fault == "later":
            net[4].requires_grad_(False)
            net[4].weight.requires_grad_(True)
        descend(net, optimizer, images(4))
        if fault == "later":  # torch's fused SGD takes no velocity beside none, so it is begun by hand
            net[4].bias.requires_grad_(True)
            if torchs is torch.optim.SGD:
                optimizer.state[net[4].bias] = {"momentum_buffer": torch.zeros(7)}
        if fault == "format":
            net.to(memory_format=torch.channels_last)
        if fault == "data":
            net[4].weight.data = net[4].weight.data.clone() * 2
        state = optimizer.state[net[4].weight]
        name = "momentum_buffer" if "momentum_buffer" in state else "exp_avg"
        if fault == "state":
            state[name] = torch.ones(180, 7).t() if torchs is not type(optimizer) else torch.ones(7, 180)
        if fault == "entry":
            optimizer.state[net[4].weight] = {key: value * 3 for key, value in state.items()}
        if fault == "cleared":
            saved = {parameter: dict(entry) for parameter, entry in optimizer.state.items()}
            optimizer.state.clear()
            optimizer.state.update(saved)
        if fault == "format" and torchs is type(optimizer):
            entry = optimizer.state[net[0].weight]
            for key, value in entry.items():
                entry[key] = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for batch in images(4):
            net.zero_grad()
            net(batch).square().mean().backward()
            gradient = net[4].weight.grad
            if fault == "turned" and optimizer is optimizers[0]:
                net[4].weight.grad = gradient.t().contiguous().t()
            if fault == "expanded":
                value = torch.full((1,), 0.1).expand(7)
                net[4].bias.grad = value if optimizer is optimizers[0] else value.contiguous()
            if fault == "none":
                net[2].weight.grad = None
            optimizer.step()
    assert same(*nets)


@pairs
def test_a_parameter_without_gradient_keeps_every_bit_and_gets_no_state(
    ours: Any, torchs: Any, options: dict[str, Any]
) -> None:
    net = network()
    net[2].requires_grad_(False)
    before = net[2].weight.clone()
    optimizer = ours(net.parameters(), **options)
    descend(net, optimizer, images(5))
    assert is_kept(optimizer)
    assert torch.equal(net[2].weight, before)
    assert net[2].weight not in optimizer.state


@pairs
def test_copies_go_on_apart_to_the_same_bits(ours: Any, torchs: Any, options: dict[str, Any]) -> None:
    net = network()
    optimizer = ours(net.parameters(), **options)
    descend(net, optimizer, images(5))
    twin, copied = copy.deepcopy((net, optimizer))
    before = copy.deepcopy(twin)
    descend(net, optimizer, images(5))
    assert same(twin, before)
    descend(twin, copied, images(5))
    assert is_kept(copied)
    assert same(net, twin)


@pairs
def test_hooks_are_called_once_and_a_closure_gives_its_result(ours: Any, torchs: Any, options: dict[str, Any]) -> None:
    net, calls = network(), []
    optimizer = ours(net.parameters(), **options)
    descend(net, optimizer, images(3))
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    batch = next(images(1))

    def closure() -> Tensor:
        calls.append("closure")
        optimizer.zero_grad()
        loss: Tensor = net(batch).square().mean()
        loss.backward()
        return loss

    assert optimizer.step(closure).requires_grad
    assert calls == ["before", "closure", "after"]


@pairs
def test_a_group_may_be_added_and_an_option_changed_at_any_time(
    ours: Any, torchs: Any, options: dict[str, Any]
) -> None:
    nets = [network() for _ in range(2)]
    for kind, net in zip((ours, torchs), nets, strict=True):
        params = list(net.parameters())
        optimizer = kind(params[:4], **options)
        descend(net, optimizer, images(4))
        optimizer.add_param_group({"params": params[4:], "lr": 0.3})
        descend(net, optimizer, images(4))
        optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
        optimizer.param_groups[1].update(maximize=True, weight_decay=0.1)
        descend(net, optimizer, images(4))
    assert same(*nets)


def test_momentum_may_be_taken_away_and_given_back() -> None:
    nets = [network() for _ in range(2)]
    for kind, net in zip((DirectSGD, torch.optim.SGD), nets, strict=True):
        optimizer = kind(net.parameters(), lr=0.1, momentum=0.9, fused=True)
        for momentum in (0.9, 0.0, 0.5):
            optimizer.param_groups[0]["momentum"] = momentum
            descend(net, optimizer, images(4))
    assert same(*nets)


@pairs
def test_safetensors_saves_the_network_while_it_trains(
    ours: Any, torchs: Any, options: dict[str, Any], tmp_path: Any
) -> None:
    net, again = network(), network()
    descend(net, ours(net.parameters(), **options), images(4))
    save_model(net, str(tmp_path / "net.safetensors"))
    load_model(again, str(tmp_path / "net.safetensors"))
    assert same(net, again)


@pytest.mark.parametrize("build", [sgd, adamw], ids=["sgd", "adamw"])
def test_sparse_gradients_are_refused_by_name(build: Callable[..., torch.optim.Optimizer]) -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = build(table.named_parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(OptionInvalid, match=f"{build.__name__}: the gradient of weight is sparse"):
        optimizer.step()


@pytest.mark.parametrize("build", [sgd, adamw], ids=["sgd", "adamw"])
def test_the_cards_take_kept_lists_on_the_cpu_alone(build: Callable[..., torch.optim.Optimizer]) -> None:
    assert isinstance(build([torch.zeros(2, requires_grad=True)]), Direct)
    assert not isinstance(build([torch.zeros(2, requires_grad=True, device="meta")]), Direct)


@pairs
def test_parameters_of_two_types_in_one_group_are_left_to_torch(
    ours: Any, torchs: Any, options: dict[str, Any]
) -> None:
    nets = [nn.ParameterList([torch.ones(3), torch.ones(3, dtype=torch.float64)]) for _ in range(2)]
    for kind, net in zip((ours, torchs), nets, strict=True):
        optimizer = kind(net.parameters(), **options)
        for _ in range(4):
            for parameter in net:
                parameter.grad = torch.full_like(parameter, 0.3)
            optimizer.step()
    assert same(*nets)


def test_an_entry_that_is_missing_is_made_as_in_torch() -> None:
    net = network()
    optimizer = DirectSGD(net.parameters(), **SGD)
    descend(net, optimizer, images(3))
    assert isinstance(optimizer.state, WatchedState)
    assert optimizer.state["note"] == {}
    assert not is_kept(optimizer)


@pairs
@pytest.mark.parametrize("size", [1, 3])
def test_another_parameter_in_the_place_of_one_is_noticed(
    ours: Any, torchs: Any, options: dict[str, Any], size: int
) -> None:
    """Also where both hold the same numbers, and the old one keeps its gradient."""
    ends = []
    for kind in (ours, torchs):
        stays, old, new = (torch.ones(size, requires_grad=True) for _ in range(3))
        optimizer = kind([stays, old], **options)
        for parameter in (stays, old, new):
            parameter.grad = torch.full((size,), 0.5)
        for turn in range(8):
            if turn == 4:
                with torch.no_grad():
                    new.copy_(old)
                optimizer.param_groups[0]["params"][1] = new
                if torchs is torch.optim.SGD:
                    optimizer.state[new] = {"momentum_buffer": torch.zeros(size)}
            optimizer.step()
        ends.append(torch.cat([stays, old, new]).detach())
    assert torch.equal(*ends)


@pairs
def test_data_in_another_memory_order_under_a_gradient_made_by_hand_is_noticed(
    ours: Any, torchs: Any, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3, 3, 3), torch.randn(8, 4, 3, 3, 3)
    ends = []
    for turn in (None, 4):
        weight = start.clone().requires_grad_()
        optimizer = ours([weight], **options)
        for step, gradient in enumerate(gradients):
            if step == turn:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
            weight.grad = gradient.clone()
            optimizer.step()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)
