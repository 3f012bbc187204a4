"""The between-layer start: gradients by sample, convergence at the rate of the closed form, and what it refuses."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.initialization import between_layer_, initialize
from trainwell.initialization.between_layer import mean_squared_gradient
from trainwell.initialization.sites import Layer, Site


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perceptron(depth: int = 5, width: int = 20) -> nn.Sequential:
    """A ReLU chain in float64 with biases, whose layers start at very different scales."""
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Linear(width, width, dtype=torch.float64), nn.ReLU(inplace=True)]
        initialize(layers[-2], f"gaussian:std={0.1 * 2**place},bias=0.1", generator=seeded(place))
    return nn.Sequential(*layers[:-1])


def rates(net: nn.Module, batch: Tensor, weighting: Tensor) -> list[float]:
    """C_k by the definition: the gradient of each sample by itself, squared and averaged."""
    weights = [parameter for name, parameter in net.named_parameters() if name.endswith("weight")]
    squares = [0.0] * len(weights)
    for sample, factors in zip(batch, weighting, strict=True):
        gradients = torch.autograd.grad((net(sample.unsqueeze(0))[0] * factors).sum(), weights)
        squares = [a + float(g.square().sum()) for a, g in zip(squares, gradients, strict=True)]
    sizes = [float(weight.detach().norm()) for weight in weights]
    return [math.sqrt(a / len(batch)) / size for a, size in zip(squares, sizes, strict=True)]


def spread(values: list[float]) -> float:
    return max(values) / min(values)


BATCH = torch.randn(12, 20, generator=seeded(9), dtype=torch.float64)


def weighting_of(net: nn.Module, batch: Tensor, seed: int) -> Tensor:
    return torch.randn(net(batch).shape, generator=seeded(seed)).to(batch.dtype)


def test_all_layers_change_at_the_same_rate_afterwards_and_answers_stay() -> None:
    net = perceptron()
    expected, weighting = net(BATCH).detach(), weighting_of(net, BATCH, 4)
    assert spread(rates(net, BATCH, weighting)) > 10
    report = between_layer_(net, BATCH, generator=seeded(4))
    assert spread(rates(net, BATCH, weighting)) < 1.01
    torch.testing.assert_close(net(BATCH).detach(), expected, rtol=1e-10, atol=1e-10)
    assert report.changed == ("0", "2", "4", "6", "8")


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_each_iteration_goes_its_share_of_the_way_in_logarithms(alpha: float) -> None:
    """C_k -> C_k / r_k² = C (C_k / C)^(1 - alpha): the printed exponent would make it 1 + alpha."""
    net = perceptron()
    weighting = weighting_of(net, BATCH, 4)
    before = [math.log(rate) for rate in rates(net, BATCH, weighting)]
    middle = sum(before) / len(before)
    between_layer_(net, BATCH, alpha=alpha, max_iterations=2, tolerance=1e-9, generator=seeded(4))
    after = [math.log(rate) for rate in rates(net, BATCH, weighting)]
    expected = [middle + (log - middle) * (1 - alpha) ** 2 for log in before]
    assert after == pytest.approx(expected, abs=1e-9)


LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(5, 4), (6, 5)),
    (lambda: nn.Linear(5, 4), (6, 3, 5)),
    (lambda: nn.Conv1d(4, 6, 3, padding=1, groups=2), (5, 4, 9)),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (5, 3, 8, 7)),
    (lambda: nn.Conv2d(4, 6, (3, 2), dilation=2, groups=2, padding="same"), (5, 4, 8, 7)),
    (lambda: nn.Conv2d(4, 4, 3, padding=2, padding_mode="reflect", groups=4), (5, 4, 8, 7)),
    (lambda: nn.Conv3d(2, 4, 3, padding=1), (3, 2, 5, 4, 6)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
@pytest.mark.parametrize("piece", [2**24, 1])
def test_squared_gradients_are_those_of_each_sample(
    make: Callable[[], nn.Module], shape: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwell.initialization.between_layer.MOST_VALUES", piece)
    layer = make().double()
    assert isinstance(layer, Layer)
    inputs = torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    slopes = torch.randn(layer(inputs).shape, generator=seeded(2), dtype=torch.float64)
    expected = 0.0
    for sample, slope in zip(inputs, slopes, strict=True):
        (gradient,) = torch.autograd.grad((layer(sample.unsqueeze(0))[0] * slope).sum(), [layer.weight])
        expected += float(gradient.square().sum()) / len(inputs)
    assert mean_squared_gradient(Site("", layer), inputs, slopes) == pytest.approx(expected, rel=1e-10)


def test_a_convolutional_chain_with_pooling_and_in_place_activations_converges() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2),
        nn.LeakyReLU(0.1, inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    report = between_layer_(net, torch.randn(16, 3, 8, 8, generator=seeded(1)), generator=seeded())
    before, after = (float(report.notes[0].split(word)[0].split()[-1]) for word in (" times", " after"))
    assert before > 1.5
    assert after < 1.011


class Skip(nn.Module):
    """A residual unit, whose two paths are scaled differently."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.second(self.first(inputs).relu())


@pytest.mark.parametrize(
    "inner",
    [Skip(), nn.Tanh(), nn.Sequential(nn.Linear(6, 6).requires_grad_(False), nn.ReLU())],
    ids=["skip", "tanh", "bias"],
)
def test_a_network_that_is_no_chain_keeping_scale_is_refused_and_stays(inner: nn.Module) -> None:
    net = nn.Sequential(nn.Linear(6, 6), inner, nn.Linear(6, 3))
    initialize(net, "gaussian:std=0.7,bias=0.5", generator=seeded())
    before = [value.clone() for value in net.state_dict().values()]
    with pytest.raises(ModelInvalid, match="between_layer needs a chain of layers with activations that keep scale"):
        between_layer_(net, torch.randn(8, 6, generator=seeded()))
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))


def test_a_single_layer_and_a_dead_one_are_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"between_layer compares layers, and can scale 1 of this network"):
        between_layer_(nn.Linear(3, 3), torch.randn(4, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    nn.init.constant_(net[0].bias, -100.0)
    with pytest.raises(ModelInvalid, match="between_layer: 0 has no gradient on this batch"):
        between_layer_(net, torch.randn(4, 3))


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(OptionInvalid, match="between_layer needs 0 < alpha <= 1, .* got 2, 20 and 0.01"):
        between_layer_(perceptron(), BATCH, alpha=2)
