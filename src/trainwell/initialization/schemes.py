"""Initial weights from nothing but the shape of a layer: each value drawn alone, or the rows of a layer together.

A scale c too small and signals die out, c^L after L layers; too large and they explode. The schemes with a name choose
the variance so that c = 1 for their activation.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from trainwell.core.shelves import initializations
from trainwell.core.units import Positive, Unit
from trainwell.initialization.random_walk import WalkActivation, gain
from trainwell.initialization.scheme import Fans, Fill, Initialization, Scheme, normal, uniform_of

Distribution = Literal["normal", "uniform"]
Mode = Literal["fan_in", "fan_out"]
Std = Annotated[float, Ge(0), Unit("standard deviation")]
Bias = Annotated[float, Unit("of every layer that has one")]

LEAST_SQUARE = 1.5  # matrices at least so much longer than wide are far from singular: one orthogonalization is exact


def _filled(value: float) -> Fill:
    def fill(values: Tensor, fans: Fans, generator: torch.Generator) -> None:
        values.fill_(value)

    return fill


@initializations.card(source="Rumelhart, Hinton, Williams 1986 (why not)")
def zeros(*, bias: Bias = 0.0) -> Initialization:
    """All weights 0: shows that units which begin alike stay alike.

    Every unit of a layer computes the same and gets the same gradient, and below the last layer that is 0: nothing
    learns but the last bias. A single layer learns well from zeros.

    >>> from torch import nn
    >>> net = nn.Linear(2, 2)
    >>> _ = zeros()(net)
    >>> net.weight.abs().max().item()
    0.0
    """
    return Scheme("zeros", _filled(0.0), bias)


@initializations.card(source="Rumelhart, Hinton, Williams 1986 (why not)")
def constant(*, value: float = 0.01, bias: Bias = 0.0) -> Initialization:
    """All weights one number: units begin alike and stay alike, though gradients flow.

    A net of any width then computes what a net with one unit a layer would. For showing that symmetry must be broken.

    >>> from torch import nn
    >>> net = nn.Linear(2, 2)
    >>> _ = constant(value=0.5)(net)
    >>> net.weight.unique().tolist()
    [0.5]
    """
    return Scheme("constant", _filled(value), bias)


@initializations.card(source="Krizhevsky et al. 2012, section 5 (0.01)")
def gaussian(*, std: Std = 0.01, bias: Bias = 0.0) -> Initialization:
    """W ~ N(0, std²), the same std for every layer, whatever its fan.

    Signals change by about std · sqrt(fan_in) from layer to layer: it is right for one width only, and deep nets
    die out or explode. Good for a last layer, whose scores should begin nearly equal.

    Args:
        std: standard deviation.
        bias: 0, since the draws of the weights break the symmetry already; a small positive one (0.01 to 0.1) lets
            every ReLU fire at first, and log(p / (1 - p)) in the last layer starts at the share p of a rare class.

    >>> from torch import nn
    >>> print(gaussian(std=0.01)(nn.Conv2d(3, 8, 3)).changed)
    ('',)
    """
    return Scheme("gaussian", normal(lambda fans: std), bias)


@initializations.card(source="LeCun et al. 1998, Efficient BackProp, section 4.6 (why the bound should follow the fan)")
def uniform(*, bound: Positive = 0.05, bias: Bias = 0.0) -> Initialization:
    """W ~ U(-bound, bound), the same for every layer; its standard deviation is bound / sqrt 3.

    Like `gaussian` it is right for one width only.

    >>> from torch import nn
    >>> net = nn.Linear(100, 100)
    >>> _ = uniform(bound=0.1)(net)
    >>> bool(net.weight.abs().max() <= 0.1)
    True
    """
    return Scheme("uniform", uniform_of(lambda fans: bound / math.sqrt(3.0)), bias)


@initializations.card(source="LeCun et al. 1998, Efficient BackProp, section 4.6")
def lecun(*, distribution: Distribution = "normal", bias: Bias = 0.0) -> Initialization:
    """Var W = 1 / fan_in: keeps the variance of inputs through linear layers, and of SELU networks.

    Too small by half before ReLU, which throws half of the signal away: see `he`.

    Args:
        distribution: normal, or uniform of the same variance; the paper leaves it open.
        bias: 0: inputs of mean 0 need none at the start.

    >>> from torch import nn
    >>> print(lecun()(nn.Linear(100, 10)).entries[0].words.partition(", std")[0])
    fan_in 100, fan_out 10
    """
    return Scheme("lecun", _of(distribution)(lambda fans: math.sqrt(1 / fans.fan_in)), bias)


@initializations.card(
    source="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward nets, eq. 12, 16"
)
def xavier(*, distribution: Distribution = "normal", gain: Positive = 1.0, bias: Bias = 0.0) -> Initialization:
    """Var W = 2 / (fan_in + fan_out): for tanh and linear layers, forward and backward at once.

    Cures the dying out of signals and gradients in nets of units that are linear around 0. With ReLU each layer loses
    half of the signal, and some thirty layers no longer train.

    Args:
        distribution: normal, or the paper's uniform: U(-a, a), a = sqrt(6 / (fan_in + fan_out)).
        gain: factor of all weights; 5/3 is usual for tanh, by experience.
        bias: 0, as in the paper.

    >>> from torch import nn
    >>> net = nn.Linear(300, 300)
    >>> _ = xavier(distribution="uniform")(net)
    >>> bool(net.weight.abs().max() <= 0.1)
    True
    """
    return Scheme("xavier", _of(distribution)(lambda fans: gain * math.sqrt(2 / (fans.fan_in + fans.fan_out))), bias)


@initializations.card(source="He et al. 2015, arXiv:1502.01852, equations 10, 14, 15")
def he(
    *,
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    negative_slope: Annotated[float, Unit("of the activation left of 0")] = 0.0,
    bias: Bias = 0.0,
) -> Initialization:
    """Var W = 2 / ((1 + a²) n): keeps signals (n = fan_in) or gradients (n = fan_out) through ReLU layers.

    Also called Kaiming initialization. Cures the loss of half the signal in each ReLU layer, so that nets of thirty
    layers train without batch norm. A convolution sums r² k products: n = r² k.

    Args:
        mode: fan_in keeps the size of signals forward, fan_out that of gradients backward, which residual nets use.
        distribution: normal as in the paper, or uniform of the same variance.
        negative_slope: a, of leaky and parametric ReLU; 0 for ReLU itself.
        bias: 0, as in the paper; a small positive one lets every ReLU fire at first.

    >>> from torch import nn
    >>> print(he(mode="fan_out")(nn.Conv2d(3, 64, 3)).entries[0].words.partition(", std")[0])
    fan_in 27, fan_out 576
    """
    share = 2 / (1 + negative_slope**2)
    if mode == "fan_in":
        return Scheme("he", _of(distribution)(lambda fans: math.sqrt(share / fans.fan_in)), bias)
    return Scheme("he", _of(distribution)(lambda fans: math.sqrt(share / fans.fan_out)), bias)


@initializations.card(source="Saxe, McClelland, Ganguli 2013, arXiv:1312.6120")
def orthogonal(*, gain: Positive = 1.0, bias: Bias = 0.0) -> Initialization:
    """Rows or columns orthonormal, times a gain: a layer turns its inputs and stretches none.

    Deep linear nets then train in a number of steps that does not grow with depth. Convolutions are flattened to
    (outputs, fan_in), each group by itself: that makes filters orthonormal, not the convolution a rotation.

    Args:
        gain: all singular values; sqrt 2 before ReLU.
        bias: 0, as in the paper.

    Costs an orthogonalization of each layer: about fan_in · outputs² operations.

    >>> from torch import nn
    >>> net = nn.Linear(8, 3)
    >>> _ = orthogonal()(net)
    >>> torch.allclose(net.weight @ net.weight.T, torch.eye(3), atol=1e-6)
    True
    """

    def fill(values: Tensor, fans: Fans, generator: torch.Generator) -> None:
        values.copy_(orthonormal(values.normal_(generator=generator))).mul_(gain)

    return Scheme("orthogonal", fill, bias)


def orthonormal(drawn: Tensor) -> Tensor:
    """Return the orthonormal factor Q of a matrix of Gaussian draws, along its shorter side; uniform over all such.

        A = Q R  with  diag R > 0        R^T R = A^T A  (Cholesky)        Q = A R^-1

    The Cholesky form is several times faster than reflections; in float64, and once more where A may be nearly
    singular, it is as exact. It is the Q of `torch.linalg.qr` with the signs of diag R taken off.

    >>> orthonormal(torch.randn(2, 5)).shape
    torch.Size([2, 5])
    """
    is_wide = drawn.shape[0] < drawn.shape[1]
    tall = (drawn.T if is_wide else drawn).double()
    longer, shorter = tall.shape
    is_exact = longer >= LEAST_SQUARE * shorter and drawn.dtype != torch.float64
    result = tall
    for _ in range(1 if is_exact else 2):
        factor, failed = torch.linalg.cholesky_ex(result.T @ result)
        if int(failed):  # singular to float64: as good as never
            reflected, triangle = torch.linalg.qr(tall)
            result = reflected * triangle.diagonal().sign()
            break
        result = torch.linalg.solve_triangular(factor, result.T, upper=False).T
    return (result.T if is_wide else result).to(drawn.dtype)


@initializations.card(source="Sussillo & Abbott 2014, arXiv:1412.6558")
def random_walk(*, activation: WalkActivation = "relu", bias: Bias = 0.0) -> Initialization:
    """W ~ N(0, g² / fan_in), g such that the logarithm of a gradient's size is a random walk without drift.

    The variance 2 / fan_in of `he` keeps the *mean* square of back-propagated gradients, but in narrow layers their
    typical size still shrinks. With N = fan_in, linear: g = exp(1 / 2N); ReLU:
    g = sqrt 2 · exp(1.2 / (max(N, 6) - 2.4)); for tanh g is found numerically. The spread of the walk still grows as
    depth / N: wide layers keep it small.

    Args:
        activation: what stands between the layers.
        bias: 0, as in the paper.

    >>> from torch import nn
    >>> print(random_walk()(nn.Linear(100, 100)).choice)
    random_walk
    """
    return Scheme("random_walk", normal(lambda fans: gain(activation, fans.fan_in) / math.sqrt(fans.fan_in)), bias)


def _of(distribution: Distribution) -> Callable[[Callable[[Fans], float]], Fill]:
    return normal if distribution == "normal" else uniform_of
