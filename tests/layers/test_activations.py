"""Each activation against torch.nn.functional, NumPy or a closed form, in float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainwell.errors import NameUnknown, OptionInvalid, ShapeError
from trainwell.layers.activations.exponential import ALPHA, SCALE
from trainwell.layers.choosing import gain_of, make_activation, widening

X = torch.linspace(-8, 8, 4 * 50, dtype=torch.float64)[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
X = X.reshape(50, 4)


def turned(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Every second channel turned over, one by one."""
    return lambda x: torch.stack([function(x[:, 0]), -function(-x[:, 1]), function(x[:, 2]), -function(-x[:, 3])], 1)


ORACLES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: 2 / (1 + torch.exp(-2 * x)) - 1,
    "relu": functional.relu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.01),
    "leaky_relu:slope=0.3": lambda x: functional.leaky_relu(x, 0.3),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "prelu:start=0.125": lambda x: torch.where(x > 0, x, x / 8),
    "flexible_relu:start=-1": lambda x: functional.relu(x) - 1,
    "elu": functional.elu,
    "elu:alpha=0.5": lambda x: torch.where(x > 0, x, 0.5 * torch.expm1(x)),
    "selu": lambda x: SCALE * torch.where(x > 0, x, ALPHA * torch.expm1(x)),
    "softplus": lambda x: torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0),
    "softplus:beta=2": lambda x: torch.log1p(torch.exp(2 * x)) / 2,
    "gelu": lambda x: x * torch.special.ndtr(x),
    "silu": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(functional.softplus(x)),
    "bipolar_relu": turned(functional.relu),
    "bipolar_elu": turned(functional.elu),
    "bipolar_elu:alpha=2": turned(lambda x: functional.elu(x, 2.0)),
    "bipolar_leaky_relu": turned(functional.leaky_relu),
}


@pytest.mark.parametrize("choice", ORACLES)
def test_it_computes_what_an_independent_rewrite_does(choice: str) -> None:
    outputs = make_activation(choice, 4).double()(X)
    torch.testing.assert_close(outputs, ORACLES[choice](X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("choice", ORACLES)
def test_on_images_it_does_to_each_pixel_what_it_does_to_features(choice: str) -> None:
    images = X.reshape(10, 5, 4, 1).permute(0, 2, 1, 3)  # (N, C, H, W), the channels of X
    outputs = make_activation(choice, 4).double()(images)
    rows = outputs.permute(0, 2, 3, 1).reshape(50, 4)
    torch.testing.assert_close(rows, make_activation(choice, 4).double()(X), rtol=1e-12, atol=1e-12)


def test_selu_has_the_fixed_point_of_mean_0_and_variance_1() -> None:
    """In closed form, with E of a half Gaussian and of exp on the other half."""
    lower = math.exp(0.5) * (1 - 0.5 * (1 + math.erf(1 / math.sqrt(2))))  # E exp(z) for z < 0
    lower_square = math.exp(2) * (1 - 0.5 * (1 + math.erf(2 / math.sqrt(2))))  # E exp(2z) for z < 0
    mean = SCALE * (1 / math.sqrt(2 * math.pi) + ALPHA * (lower - 0.5))
    square = SCALE**2 * (0.5 + ALPHA**2 * (lower_square - 2 * lower + 0.5))
    assert mean == pytest.approx(0, abs=1e-14)
    assert square == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_takes_the_largest_of_neighbours(pieces: int) -> None:
    inputs = torch.randn(7, 4 * pieces, 2, 3, dtype=torch.float64)
    outputs = make_activation(f"maxout:pieces={pieces}", 4)(inputs)
    expected = np.stack([inputs.numpy()[:, c * pieces : (c + 1) * pieces].max(1) for c in range(4)], axis=1)
    np.testing.assert_array_equal(outputs.numpy(), expected)


def test_a_maxout_layer_is_the_largest_of_its_linear_maps() -> None:
    layer = nn.Linear(6, 4 * 3).double()
    inputs = torch.randn(5, 6, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy().reshape(4, 3, 6), layer.bias.detach().numpy().reshape(4, 3)
    expected = (np.einsum("cpd,nd->ncp", weight, inputs.numpy()) + bias).max(2)
    outputs = make_activation("maxout:pieces=3", 4)(layer(inputs))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-12)


def test_learned_slopes_and_levels_get_the_gradients_of_their_papers() -> None:
    """He 2015, equation 9: the sum of the negative inputs; Qiu 2017: 1 for every input, also on the positive side."""
    for choice, name, expected in (
        ("prelu", "weight", X.clamp(max=0).sum(0)),
        ("flexible_relu", "bias", torch.full((4,), 50.0, dtype=torch.float64)),
    ):
        module = make_activation(choice, 4).double()
        module(X).sum().backward()
        torch.testing.assert_close(module.get_parameter(name).grad, expected, rtol=1e-12, atol=1e-12)


def test_the_slope_of_relu_at_0_is_0() -> None:
    at_kink = torch.zeros(1, 4, requires_grad=True)
    make_activation("relu", 4)(at_kink).sum().backward()
    assert at_kink.grad is not None
    assert not at_kink.grad.any()


PHI_1 = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
GAINS = {
    "identity": 1,
    "relu": math.sqrt(2),
    "tanh": 5 / 3,
    "selu": 1,
    "leaky_relu:slope=0.2": math.sqrt(2 / 1.04),
    "prelu": math.sqrt(2 / (1 + 0.25**2)),
    "bipolar_relu": math.sqrt(2),
    "bipolar_leaky_relu:slope=0.2": math.sqrt(2 / 1.04),
    "flexible_relu:start=-0.5": (0.5 - 2 * 0.5 / math.sqrt(2 * math.pi) + 0.25) ** -0.5,
    "maxout:pieces=2": 1,  # max(a, b)^2 + min(a, b)^2 = a^2 + b^2, and both have the same mean
    "maxout:pieces=3": (1 + math.sqrt(3) / (2 * math.pi)) ** -0.5,
    "elu": (0.5 + math.exp(2) * math.erfc(math.sqrt(2)) / 2 - math.exp(0.5) * math.erfc(math.sqrt(0.5)) + 0.5) ** -0.5,
    "gelu": (1 / 3 + 1 / (2 * math.sqrt(3) * math.pi)) ** -0.5,
}


@pytest.mark.parametrize("choice", GAINS)
def test_gains_are_those_of_the_closed_forms(choice: str) -> None:
    assert gain_of(choice) == pytest.approx(GAINS[choice], rel=1e-12)


@pytest.mark.parametrize("choice", ["sigmoid", "softplus", "silu", "mish", "bipolar_elu:alpha=0.5"])
def test_other_gains_are_those_of_gauss_hermite_quadrature(choice: str) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    outputs = make_activation(choice, 1).double()(torch.from_numpy(nodes)[:, None])[:, 0].numpy()
    second = (weights * outputs**2).sum() / weights.sum()
    smooth = 1e-10 if "elu" not in choice else 1e-3  # a bend at 0 is what this quadrature is bad at
    assert gain_of(choice) == pytest.approx(second**-0.5, rel=smooth)


def test_widening_is_the_number_of_pieces_and_one_for_the_rest() -> None:
    assert [widening(choice) for choice in ("relu", "maxout", "maxout:pieces=4")] == [1, 2, 4]


@pytest.mark.parametrize(
    ("choice", "words"),
    [("prelu", "prelu was built for inputs"), ("flexible_relu", "flexible_relu was built"), ("maxout", "maxout was"),
     ("bipolar_elu", "a bipolar activation was built")],
)  # fmt: skip
def test_other_channels_are_refused_in_words(choice: str, words: str) -> None:
    with pytest.raises(ShapeError, match=words + r".*\(N, \d+, ...\), got \(2, 5\): build it for the channels"):
        make_activation(choice, 4)(torch.zeros(2, 5))


def test_unknown_names_and_options_are_refused_in_words() -> None:
    with pytest.raises(NameUnknown, match="no activation is called 'rellu': did you mean 'relu'"):
        make_activation("rellu", 4)
    with pytest.raises(OptionInvalid, match="elu:alpha must be a number > 0, got -1"):
        make_activation("elu:alpha=-1", 4)
    with pytest.raises(OptionInvalid, match="maxout:pieces must be a whole number >= 2, got 1"):
        widening("maxout:pieces=1")
