"""What every member of the initialization shelf must keep to; holds no member's name."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from trainwell.core.catalog import Card
from trainwell.core.shelves import initializations
from trainwell.errors import DataInvalid, ModelInvalid, OptionInvalid
from trainwell.initialization import Report, initialize

pytestmark = pytest.mark.parametrize("card", list(initializations), ids=lambda card: card.name)


class Unit(nn.Module):
    """A residual unit of two layers."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), norm(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), norm(channels)
        self.downsample = None

    def forward(self, inputs: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(inputs)).relu()
        return (self.bn2(self.conv2(branch)) + inputs).relu()


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, groups=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 36, 4),
    )  # fmt: skip


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(), Unit(6, nn.BatchNorm2d),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip


def unnormed() -> nn.Module:
    units = [Unit(6, lambda channels: nn.Identity()) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), *units, nn.Flatten(), nn.Linear(6 * 64, 4))


def with_frozen() -> nn.Module:
    """A frozen and a parametrized layer, which none may touch."""
    net = chain()
    net[0].requires_grad_(False)
    net[2] = weight_norm(net[2])
    net[3] = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
    return net


NETS = [chain, normed, unnormed]


def inputs(seed: int = 0) -> Tensor:
    return torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def start(card: Card, net: nn.Module, *, seed: int = 0, batch: Tensor | None = None) -> Report:
    batch = inputs() if batch is None else batch
    return initialize(net, card.name, generator=torch.Generator().manual_seed(seed), batch=batch)


def started(card: Card, make: Callable[[], nn.Module]) -> tuple[nn.Module, Report] | None:
    """A network of a kind, started; None where the member refuses that kind, which must not have changed it."""
    torch.manual_seed(0)
    net = make()
    before = [value.clone() for value in net.state_dict().values()]
    try:
        return net, start(card, net)
    except ModelInvalid as error:
        refusal = error
    assert card.name in str(refusal)
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    return None


def accepted(card: Card) -> list[Callable[[], nn.Module]]:
    return [make for make in NETS if started(card, make) is not None]


def test_it_takes_some_networks_and_refuses_the_others_unchanged(card: Card) -> None:
    assert accepted(card)


def test_it_changes_what_it_reports_and_nothing_else(card: Card) -> None:
    for make in accepted(card):
        torch.manual_seed(0)
        before = {name: value.clone() for name, value in make().state_dict().items()}
        net, report = started(card, make) or (nn.Module(), Report("", ()))
        named = {
            name for name, module in net.named_modules() if next(module.parameters(recurse=False), None) is not None
        }
        assert {entry.name for entry in report.entries} == named
        for name, value in net.state_dict().items():
            assert bool(value.isfinite().all())
            if name.rpartition(".")[0] not in report.changed:
                assert torch.equal(value, before[name]), name
        assert len(str(report).splitlines()) >= 2
        assert "\n" not in report.summary


def test_one_seed_gives_the_same_bits(card: Card) -> None:
    for make in accepted(card):
        one, same = started(card, make), started(card, make)
        assert one is not None
        assert same is not None
        assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), same[0].parameters(), strict=True))


def test_mode_statistics_random_state_and_hooks_are_as_before(card: Card) -> None:
    for make in accepted(card):
        net = make().train()
        next(iter(net.children())).eval()
        modes, buffers = [m.training for m in net.modules()], [b.clone() for b in net.buffers()]
        state, trains = torch.get_rng_state(), [p.requires_grad for p in net.parameters()]
        start(card, net)
        assert [m.training for m in net.modules()] == modes
        assert all(torch.equal(a, b) for a, b in zip(buffers, net.buffers(), strict=True))
        assert torch.equal(torch.get_rng_state(), state)
        assert [p.requires_grad for p in net.parameters()] == trains
        assert all(p.grad is None for p in net.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_keeps_precision_and_memory_format(card: Card, dtype: torch.dtype) -> None:
    for make in accepted(card):
        net = make().to(dtype).to(memory_format=torch.channels_last)
        with torch.no_grad():
            start(card, net)
        assert all(p.dtype == dtype for p in net.parameters())
        kernels = [p for p in net.parameters() if p.dim() == 4]
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_frozen_and_parametrized_layers_keep_every_bit(card: Card) -> None:
    torch.manual_seed(0)
    net = with_frozen()
    before = {name: value.clone() for name, value in net.state_dict().items() if name[0] in "02"}
    with contextlib.suppress(ModelInvalid):
        assert {"0", "2"} <= set(start(card, net).left)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_one_that_needs_a_batch_says_so_and_refuses_what_is_none(card: Card) -> None:
    net = accepted(card)[0]()
    if not card.traits.get("needs_batch"):
        assert initialize(net, card.name, generator=torch.Generator().manual_seed(0)).entries
        return
    with pytest.raises(OptionInvalid, match=f"{card.name} measures activations: pass batch="):
        initialize(net, card.name)
    with pytest.raises(DataInvalid, match="at least 2 samples"):
        start(card, net, batch=inputs()[:1])
    with pytest.raises(DataInvalid, match="NaN or Inf"):
        start(card, net, batch=inputs() * float("nan"))


def test_a_network_without_weights_is_refused(card: Card) -> None:
    with pytest.raises(ModelInvalid):
        start(card, nn.Sequential(nn.Flatten(), nn.ReLU()))


def test_every_declared_range_is_refused_outside_with_the_words(card: Card) -> None:
    for option in card.options.values():
        for outside in values_outside(option.annotation):
            with pytest.raises(OptionInvalid) as caught:
                card.build({option.name: outside})
            assert f"{card.name}:{option.name} must be {option.allowed}, got {outside!r}" in str(caught.value)


def values_outside(annotation: Any) -> list[float]:
    outside: list[float] = []
    for bound in getattr(annotation, "__metadata__", ()):
        if isinstance(bound, Gt | Lt):
            outside.append(bound.gt if isinstance(bound, Gt) else bound.lt)
        if isinstance(bound, Ge | Le):
            outside.append(bound.ge - 1 if isinstance(bound, Ge) else bound.le + 1)
    return [*outside, float("nan"), float("inf")] if outside else []


def test_its_card_says_what_it_is_and_asks_for_options_alone(card: Card) -> None:
    assert card.summary.endswith(".")
    assert not card.needs
    assert ">>>" in (card.builder.__doc__ or "")
