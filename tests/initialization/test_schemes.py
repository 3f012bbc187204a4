"""Weights drawn from the shape of a layer: against torch.nn.init, closed moments, and the whole distribution.

Random quantities are asked to lie within 5.5 standard errors, or a Kolmogorov-Smirnov p-value above 1e-7: each such
test fails by chance less than once in a million seeds, and the seeds are fixed.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from trainwell.initialization import initialize
from trainwell.initialization.schemes import orthonormal

SURE = 5.5  # standard errors; p = 4e-8 for two sides
LEAST_P = 1e-7


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(choice: str, layer: nn.Module, seed: int = 0) -> Tensor:
    initialize(layer, choice, generator=seeded(seed))
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


LAYERS: list[tuple[Callable[[], nn.Module], int, int]] = [
    (lambda: nn.Linear(300, 500), 300, 500),
    (lambda: nn.Conv1d(60, 100, 5), 300, 500),
    (lambda: nn.Conv2d(40, 60, 3, stride=2), 360, 540),
    (lambda: nn.Conv2d(80, 120, 5, groups=4), 500, 750),  # r² C / g, r² M / g
    (lambda: nn.Conv3d(12, 60, 3), 324, 1620),
    (lambda: nn.ConvTranspose2d(60, 40, 4, stride=2), 960, 640),
    (lambda: nn.ConvTranspose2d(60, 80, 4, groups=2), 480, 640),
]
SCHEMES: list[tuple[str, Callable[[int, int], float], str]] = [
    ("gaussian:std=0.3", lambda fan_in, fan_out: 0.3**2, "norm"),
    ("uniform:bound=0.2", lambda fan_in, fan_out: 0.2**2 / 3, "uniform"),
    ("lecun", lambda fan_in, fan_out: 1 / fan_in, "norm"),
    ("lecun:distribution=uniform", lambda fan_in, fan_out: 1 / fan_in, "uniform"),
    ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out), "norm"),
    ("xavier:distribution=uniform,gain=1.5", lambda fan_in, fan_out: 1.5**2 * 2 / (fan_in + fan_out), "uniform"),
    ("he", lambda fan_in, fan_out: 2 / fan_in, "norm"),
    ("he:mode=fan_out", lambda fan_in, fan_out: 2 / fan_out, "norm"),
    ("he:mode=fan_out,distribution=uniform,negative_slope=0.3", lambda fan_in, fan_out: 2 / 1.09 / fan_out, "uniform"),
    ("random_walk:activation=linear", lambda fan_in, fan_out: math.exp(1 / fan_in) / fan_in, "norm"),
]


@pytest.mark.parametrize(("make", "fan_in", "fan_out"), LAYERS)
@pytest.mark.parametrize(("choice", "variance", "kind"), SCHEMES, ids=[scheme[0] for scheme in SCHEMES])
def test_mean_variance_and_distribution_are_those_of_the_paper(
    make: Callable[[], nn.Module], fan_in: int, fan_out: int, choice: str, variance: Callable[..., float], kind: str
) -> None:
    drawn = weights(choice, make()).double().numpy().ravel()
    expected, count = variance(fan_in, fan_out), drawn.size
    kurtosis = 3.0 if kind == "norm" else 1.8
    assert abs(drawn.mean()) < SURE * math.sqrt(expected / count)
    assert abs(drawn.var() / expected - 1) < SURE * math.sqrt((kurtosis - 1) / count)
    standard = drawn / math.sqrt(expected)
    shape = stats.norm() if kind == "norm" else stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))
    assert stats.kstest(standard, shape.cdf).pvalue > LEAST_P
    if kind == "uniform":
        bound = math.sqrt(3 * expected)
        assert np.abs(drawn).max() <= bound * (1 + 1e-6)
        assert np.abs(drawn).max() > bound * (1 - 20 / count)  # missed with probability e^-20


@pytest.mark.parametrize("layer", [nn.Linear(30, 50), nn.Conv2d(4, 6, 3)], ids=["dense", "conv"])
@pytest.mark.parametrize(
    ("choice", "oracle"),
    [
        ("he", nn.init.kaiming_normal_),
        ("he:mode=fan_out", lambda w, generator: nn.init.kaiming_normal_(w, mode="fan_out", generator=generator)),
        ("he:negative_slope=0.2", lambda w, generator: nn.init.kaiming_normal_(w, a=0.2, generator=generator)),
        ("he:distribution=uniform", nn.init.kaiming_uniform_),
        ("xavier", nn.init.xavier_normal_),
        ("xavier:distribution=uniform", nn.init.xavier_uniform_),
        ("gaussian:std=0.02", lambda w, generator: nn.init.normal_(w, std=0.02, generator=generator)),
        ("uniform:bound=0.1", lambda w, generator: nn.init.uniform_(w, -0.1, 0.1, generator=generator)),
        ("orthogonal", nn.init.orthogonal_),
        ("orthogonal:gain=1.5", lambda w, generator: nn.init.orthogonal_(w, gain=1.5, generator=generator)),
        ("zeros", lambda w, generator: nn.init.zeros_(w)),
        ("constant:value=0.3", lambda w, generator: nn.init.constant_(w, 0.3)),
    ],
)
def test_the_same_generator_gives_what_torch_draws(
    choice: str, oracle: Callable[..., Tensor], layer: nn.Module
) -> None:
    drawn = weights(choice, layer, seed=3).clone()
    expected = (
        oracle(torch.empty_like(drawn), generator=seeded(3)) if "zeros" not in choice else torch.zeros_like(drawn)
    )
    torch.testing.assert_close(drawn, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (64, 65), (1, 7), (7, 1), (200, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthogonal_weights_have_singular_values_one(shape: tuple[int, int], dtype: torch.dtype) -> None:
    layer = nn.Linear(shape[1], shape[0], dtype=dtype)
    values = torch.linalg.svdvals(weights("orthogonal:gain=2", layer).double())
    assert (values - 2).abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)


def test_each_group_of_a_convolution_is_orthogonal_by_itself() -> None:
    weight = weights("orthogonal", nn.Conv2d(8, 12, 3, groups=4)).flatten(1).unflatten(0, (4, 3))
    torch.testing.assert_close(weight @ weight.mT, torch.eye(3).expand(4, 3, 3), rtol=0, atol=1e-6)
    transposed = weights("orthogonal", nn.ConvTranspose2d(8, 12, 3, groups=4)).unflatten(0, (4, 2))
    rows = transposed.transpose(1, 2).flatten(2)  # (g, C / g, M / g, r, r) -> (g, M / g, C / g * r²)
    torch.testing.assert_close(rows @ rows.mT, torch.eye(3).expand(4, 3, 3), rtol=0, atol=1e-6)


def test_orthogonal_weights_favour_no_direction() -> None:
    """Haar: an entry is distributed as that of a random unit vector in n dimensions, u² ~ Beta(1/2, (n-1)/2)."""
    generator = seeded(5)
    firsts = [float(orthonormal(torch.randn(6, 4, generator=generator))[0, 0]) for _ in range(4000)]
    assert stats.kstest(np.square(firsts), stats.beta(0.5, 2.5).cdf).pvalue > LEAST_P
    assert abs(np.sign(firsts).mean()) < SURE / math.sqrt(4000)


def test_an_orthogonal_factor_is_found_where_draws_are_singular() -> None:
    drawn = torch.ones(4, 4, dtype=torch.float64)
    found = orthonormal(drawn)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("choice", ["he:bias=0.1", "zeros:bias=0.1", "orthogonal:bias=0.1"])
def test_biases_become_the_number_asked_for(choice: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(2, 2, 1), nn.Linear(2, 2, bias=False))
    initialize(net, choice, generator=seeded())
    biases = [parameter for name, parameter in net.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2
    assert all(torch.equal(bias, torch.full_like(bias, 0.1)) for bias in biases)


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "factor"), [("he", 1.0), ("lecun", 0.5)])
def test_the_second_moment_of_a_deep_relu_net_stays_with_he_and_halves_with_lecun(choice: str, factor: float) -> None:
    """E h² of 30 layers of 200 units, over 20 nets; the logarithm wanders by about sqrt(5 L / N)."""
    logs = []
    for seed in range(20):
        generator, depth, width = seeded(seed), 30, 200
        net = nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())))
        initialize(net, choice, generator=generator)
        with torch.no_grad():
            inputs = torch.randn(2, width, generator=generator)
            outputs = net[:-1](inputs)
        logs.append(float((outputs.square().mean() / inputs.square().mean()).log()))
    spread = math.sqrt(5 * 30 / 200)
    # The first layer sees Gaussian inputs, no ReLU's: a factor of 2 that He's 2 / n makes and LeCun's 1 / n does not.
    expected = math.log(2) + 29 * math.log(factor) if choice == "he" else 29 * math.log(factor)
    assert abs(np.mean(logs) - (expected - 5 * 30 / 200 / 2)) < SURE * spread / math.sqrt(20) + 0.1


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_memory_format_and_precision_change_no_draw_and_stay(memory: torch.memory_format) -> None:
    plain, other = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3).to(memory_format=memory).bfloat16()
    initialize(plain, "he", generator=seeded())
    initialize(other, "he", generator=seeded())
    assert other.weight.is_contiguous(memory_format=memory)
    assert torch.equal(other.weight, plain.weight.bfloat16())


def test_without_a_generator_torch_s_own_decides_and_moves_on() -> None:
    torch.manual_seed(4)
    first, second = weights_of_default(), weights_of_default()
    torch.manual_seed(4)
    assert torch.equal(weights_of_default(), first)
    assert not torch.equal(first, second)


def weights_of_default() -> Tensor:
    layer = nn.Linear(3, 3)
    with torch.random.fork_rng(enabled=False):
        initialize(layer, "he")
    return layer.weight.detach()
