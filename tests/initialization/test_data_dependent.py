"""LSUV, within-layer and last-layer starts: their post-conditions, and an independent rewrite of LSUV in NumPy."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.initialization import initialize, lsuv_, scale_last_layer_, within_layer_

Array = NDArray[np.float64]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=seeded(7), dtype=dtype) * 2 + 0.5


def convolutional() -> nn.Sequential:
    """Groups, strides, a transposed convolution, a missing bias, batch norm, dropout, in-place activations."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, groups=4, stride=2, bias=False),
        nn.BatchNorm2d(12),
        nn.LeakyReLU(inplace=True),
        nn.ConvTranspose2d(12, 6, 4, stride=2, groups=2),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(6 * 10 * 10, 10),
    )


def outputs_of(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What each weight layer answers, before its activation, in evaluation mode."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda m, i, output, name=name: found.update({name: output.detach().clone()}))
        for name, module in model.named_modules()
        if hasattr(module, "weight") and "Norm" not in type(module).__name__
    ]
    was = model.training
    with torch.no_grad():
        model.eval()(inputs)
    model.train(was)
    for handle in handles:
        handle.remove()
    return found


def by_channel(output: Tensor) -> Tensor:
    return output.double().movedim(1, 0).flatten(1)  # (N, C, ...) -> (C, N * ...)


# LSUV


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lsuv_gives_every_layer_variance_one_and_orthogonal_weights(dtype: torch.dtype) -> None:
    net, batch = convolutional().to(dtype), images(32, 3, 9, 9, dtype=dtype)
    report = lsuv_(net, batch, tolerance=1e-9, generator=seeded())
    assert report.changed == ("0", "2", "5", "9")
    for output in outputs_of(net, batch).values():
        assert abs(float(output.double().var(correction=0)) - 1) < (1e-5 if dtype == torch.float32 else 1e-10)
    weight = net[0].weight.detach().flatten(1).double()
    gram = weight @ weight.T
    torch.testing.assert_close(gram, torch.eye(8, dtype=torch.float64) * gram[0, 0], rtol=0, atol=1e-5)


def numpy_lsuv(weights: list[Array], inputs: Array, *, tolerance: float, most: int) -> list[Array]:
    """Algorithm 1 of the paper on a chain of tanh layers, biases 0: each trial computes the layer anew."""
    done, signal = [], inputs
    for weight in weights:
        weight, trials = weight.copy(), 0
        while True:
            blob = signal @ weight.T
            variance = ((blob - blob.mean()) ** 2).mean()
            if abs(variance - 1) < tolerance or trials >= most:
                break
            weight /= np.sqrt(variance)
            trials += 1
        done.append(weight)
        signal = np.tanh(signal @ weight.T)
    return done


@pytest.mark.parametrize("tolerance", [0.1, 1e-6])
def test_lsuv_agrees_with_the_algorithm_written_in_numpy(tolerance: float) -> None:
    """Also that a layer whose variance is within the tolerance already is not scaled."""
    widths = (20, 30, 30, 30, 5)
    layers = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(widths)]
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    batch = torch.randn(50, 20, generator=seeded(3), dtype=torch.float64)
    initialize(net, "orthogonal", generator=seeded(1))
    expected = numpy_lsuv(
        [layer.weight.detach().numpy() for layer in layers], batch.numpy(), tolerance=tolerance, most=10
    )
    lsuv_(net, batch, tolerance=tolerance, generator=seeded(1))
    for layer, weight in zip(layers, expected, strict=True):
        np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-10, atol=1e-12)


def test_lsuv_passes_the_network_once() -> None:
    net, count = convolutional(), [0]
    net[0].register_forward_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    lsuv_(net, images(4, 3, 9, 9))
    assert count == [1]


def test_a_layer_that_is_not_linear_in_its_weight_is_scaled_until_it_is_right() -> None:
    class Squashed(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return 3 * torch.tanh(super().forward(inputs) / 3)

    net, batch = nn.Sequential(Squashed(10, 10), nn.Linear(10, 3)), images(64, 10)
    lsuv_(net, batch, tolerance=0.001, generator=seeded())
    assert abs(float(net[0](batch).detach().var(correction=0)) - 1) < 0.001
    lsuv_(net, batch, tolerance=1e-9, max_iterations=1, generator=seeded())
    assert abs(float(net[0](batch).detach().var(correction=0)) - 1) > 0.001


# within-layer


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("bias", [0.0, 0.1])
def test_within_layer_gives_every_channel_its_mean_and_variance_one(
    dtype: torch.dtype, close: float, bias: float
) -> None:
    net, batch = convolutional().to(dtype), images(32, 3, 9, 9, dtype=dtype)
    report = within_layer_(net, batch, bias=bias, generator=seeded())
    assert "it has no bias, so means stay" in report.entries[1].words
    found = outputs_of(net, batch)
    assert list(found) == ["0", "2", "5", "9"]
    for name, output in found.items():
        channels = by_channel(output)
        assert (channels.var(1, correction=0) - 1).abs().max() < close * (3 if name == "9" else 1)
        if name != "2":
            assert (channels.mean(1) - bias).abs().max() < close


def test_within_layer_reads_batches_with_positions_behind_a_dense_layer() -> None:
    net, batch = nn.Linear(6, 4), images(20, 5, 6)  # (N, T, D): the channel is the last
    within_layer_(net, batch, generator=seeded())
    outputs = net(batch).detach().double().flatten(0, 1)
    assert outputs.mean(0).abs().max() < 1e-6
    assert (outputs.var(0, correction=0) - 1).abs().max() < 1e-6


def test_channels_that_do_not_vary_are_named_and_stay_usable() -> None:
    net, batch = nn.Sequential(nn.Conv2d(2, 4, 1, groups=2), nn.Conv2d(4, 3, 1)), images(8, 2, 3, 3)
    batch[:, 1] = 5.0
    report = within_layer_(net, batch, generator=seeded())
    assert "2 of 4 channels not, since they do not vary on this batch" in report.entries[0].words
    channels = by_channel(outputs_of(net, batch)["0"])
    torch.testing.assert_close(channels[:2].var(1, correction=0), torch.ones(2, dtype=torch.float64))
    assert bool(net[0].bias[2:].eq(0).all())


# the last layer


@pytest.mark.parametrize("std", [0.05, 1.0, 3.0])
def test_scores_get_the_standard_deviation_asked_for_and_other_layers_stay(std: float) -> None:
    net, batch = convolutional(), images(16, 3, 9, 9)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    report = scale_last_layer_(net, batch, std=std)
    assert report.changed == ("9",)
    assert float(net.eval()(batch).std(correction=0).detach()) == pytest.approx(std, rel=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before[:-2], list(net.parameters())[:-2], strict=True))


def test_scores_that_are_scaled_behind_the_last_layer_are_brought_to_size_too() -> None:
    class Scaled(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) / 9

    net, batch = Scaled(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)), images(20, 5)
    scale_last_layer_(net, batch)
    assert float(net(batch).std(correction=0).detach()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("behind", [nn.Softmax(1), nn.LayerNorm(3)])
def test_a_last_layer_that_scores_do_not_follow_is_refused_and_stays(behind: nn.Module) -> None:
    net = nn.Sequential(nn.Linear(5, 3), behind)
    before = net[0].weight.detach().clone()
    with pytest.raises(ModelInvalid, match="the scores do not follow the scale of 0"):
        scale_last_layer_(net, images(20, 5), std=3.0)
    assert torch.equal(net[0].weight, before)


# what holds for all of them

STARTS: list[Callable[[nn.Module, Tensor], object]] = [
    lambda net, batch: lsuv_(net, batch, generator=seeded()),
    lambda net, batch: within_layer_(net, batch, generator=seeded()),
]


@pytest.mark.parametrize("start", STARTS, ids=["lsuv", "within_layer"])
def test_a_layer_used_twice_is_set_at_its_first_use_and_said_so(start: Callable[..., object]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.inner(self.inner(inputs).relu()))

    net, batch = Twice(), images(40, 6)
    report = start(net, batch)
    assert "used 2 times, and this holds for the first" in str(report)
    assert abs(float(net.inner(batch).var(correction=0).detach()) - 1) < 0.1


@pytest.mark.parametrize("start", STARTS, ids=["lsuv", "within_layer"])
def test_tied_layers_and_layers_that_are_never_reached_are_not_scaled_and_said_so(start: Callable[..., object]) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer, self.spare = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(3, 3)
            self.head = nn.Linear(6, 2)
            self.outer.weight = self.inner.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.outer(self.inner(inputs)))

    report = start(Tied(), images(40, 6))
    words = {entry.name: entry.words for entry in report.entries}
    assert "not scaled: outer holds the same weight" in words["inner"]
    assert words["outer"] == "tied to inner, which holds the same weight"
    assert "never executed on this batch, so not scaled to it" in words["spare"]
    assert "not scaled" not in words["head"]


@pytest.mark.parametrize("start", STARTS, ids=["lsuv", "within_layer"])
def test_dead_layers_are_said_and_the_rest_is_set(start: Callable[..., object]) -> None:
    class Zero(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * 0

    report = start(nn.Sequential(nn.Linear(4, 4), Zero(), nn.Linear(4, 4)), images(20, 4))
    words = [entry.words for entry in report.entries]
    assert "do not vary" not in words[0]
    assert "not scaled: its outputs do not vary on this batch" in words[1]


def test_arguments_out_of_range_are_refused() -> None:
    net, batch = nn.Linear(2, 2), images(4, 2)
    with pytest.raises(OptionInvalid, match="lsuv needs tolerance > 0 and max_iterations >= 1, got 0 and 10"):
        lsuv_(net, batch, tolerance=0)
    with pytest.raises(OptionInvalid, match="scale_last_layer needs std > 0, got -1"):
        scale_last_layer_(net, batch, std=-1)
