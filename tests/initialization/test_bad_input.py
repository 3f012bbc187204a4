"""What cannot be used is refused in words, by every start that looks at a batch, and everything is as before."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import DataInvalid, ModelInvalid
from trainwell.initialization import between_layer_, kmeans_, lsuv_, pca_, scale_last_layer_, within_layer_

STARTS = [lsuv_, within_layer_, between_layer_, pca_, kmeans_, scale_last_layer_]

Start = Callable[[nn.Module, Tensor], object]

pytestmark = pytest.mark.parametrize("start", STARTS, ids=[start.__name__ for start in STARTS])


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))


def state_of(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def is_as_before(net: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (torch.full((4, 6), float("nan")), "batch holds NaN or Inf in 24 of its 24 values"),
        (
            torch.cat([torch.zeros(3, 6), torch.full((1, 6), float("inf"))]),
            "batch holds NaN or Inf in 6 of its 24 values",
        ),
        (torch.zeros(1, 6), r"batch must hold at least 2 samples, got shape \(1, 6\)"),
        (torch.zeros(0, 6), "batch must hold at least 2 samples"),
        (torch.tensor(3.0), "batch must hold at least 2 samples"),
        ([torch.zeros(4, 6), torch.zeros(4)], "batch must be the inputs of the network as one tensor .* got list"),
    ],
)
def test_a_batch_that_cannot_be_used_is_refused(start: Start, batch: Tensor, words: str) -> None:
    net = network()
    before = state_of(net)
    with pytest.raises(DataInvalid, match=words):
        start(net, batch)
    assert is_as_before(net, before)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_batch_of_equal_samples_is_refused(start: Start, value: float) -> None:
    net = nn.Sequential(nn.Linear(6, 1), nn.ReLU(), nn.Linear(1, 1))
    before = state_of(net)
    with pytest.raises(ModelInvalid, match=r"do not vary on this batch|no gradient on this batch"):
        start(net, torch.full((5, 6), value) if start is not between_layer_ else torch.zeros(5, 6))
    assert is_as_before(net, before)


def test_a_network_that_cannot_take_the_batch_is_refused(start: Start) -> None:
    net = network()
    before = state_of(net)
    with pytest.raises(
        ModelInvalid, match=r"Sequential cannot take the batch of shape \(4, 7\): .*shapes cannot be mult"
    ):
        start(net, torch.randn(4, 7))
    assert is_as_before(net, before)


def test_nan_inside_the_network_is_refused(start: Start) -> None:
    class Root(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs - 10).sqrt()

    net = nn.Sequential(nn.Linear(6, 6), Root(), nn.Linear(6, 3))
    before = state_of(net)
    with pytest.raises(
        ModelInvalid, match=r"NaN or Inf|no gradient on this batch, or an endless one|changed the answers"
    ):
        start(net, torch.randn(8, 6))
    assert is_as_before(net, before)


def test_lazy_layers_are_refused(start: Start) -> None:
    with pytest.raises(
        ModelInvalid, match="2.weight is lazy: its shapes are not known yet, run the network once on a sa"
    ):
        start(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.LazyLinear(3)), torch.randn(4, 6))


def test_a_network_that_answers_with_something_else_than_a_tensor_is_refused(start: Start) -> None:
    class Two(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs), inputs  # type: ignore[return-value]

    with pytest.raises(ModelInvalid, match="must answer with one tensor, got tuple"):
        start(nn.Sequential(nn.Linear(6, 6), Two(6, 3)), torch.randn(4, 6))


def test_mode_statistics_random_state_gradients_and_hooks_are_as_before(start: Start) -> None:
    net = network()
    net[1].eval()
    net[1].weight.requires_grad_(False)
    net(torch.randn(8, 6)).sum().backward()
    buffers, modes = [b.clone() for b in net.buffers()], [module.training for module in net.modules()]
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    words = {} if start is scale_last_layer_ else {"generator": torch.Generator().manual_seed(0)}
    start(net, torch.randn(8, 6, generator=torch.Generator().manual_seed(5)), **words)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(buffers, net.buffers(), strict=True))
    assert [module.training for module in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, True, True, True]
    left = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(gradients, left, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_it_works_without_gradients_in_bfloat16_channels_last_and_on_whole_numbers(start: Start) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    net = net.to(torch.bfloat16).to(memory_format=torch.channels_last)
    batch = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        report = start(net, batch.to(memory_format=torch.channels_last))
    assert report.changed == (("4",) if start is scale_last_layer_ else ("0", "2", "4"))
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())
