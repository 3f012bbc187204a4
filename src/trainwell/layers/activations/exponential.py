"""Activations with an exponential left side: ELU, the self-normalizing SELU, and softplus."""

from torch import nn

from trainwell.core.shelves import activations
from trainwell.core.units import Positive
from trainwell.layers.gains import keeping_gain

# The solution of E selu(z) = 0, E selu(z)^2 = 1 for z ~ N(0, 1); torch holds the same.
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805


def _elu_gain(alpha: float) -> float:
    return keeping_gain(nn.ELU(alpha))


def _softplus_gain(beta: float) -> float:
    return keeping_gain(nn.Softplus(beta))


@activations.card(
    source="Clevert, Unterthiner & Hochreiter 2016, arXiv:1511.07289",
    formula="x if x > 0 else alpha * (exp(x) - 1)",
    derivative="1 if x > 0 else alpha * exp(x)",
    range="(-1, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="an exponential on the left side",
    gain=_elu_gain,
)
def elu(*, alpha: Positive = 1.0) -> nn.ELU:
    """Exponential linear unit: a ReLU that falls to -alpha on its left side.

    Cures: units that die, and a mean far above 0. Costs: an exponential; flat far to the left.

    Args:
        alpha: how far it falls.

    >>> import torch
    >>> elu()(torch.tensor([-20.0, 3.0]))
    tensor([-1.,  3.])
    """
    return nn.ELU(alpha)


@activations.card(
    source="Klambauer et al. 2017, arXiv:1706.02515, equation 2",
    formula=f"{SCALE} * (x if x > 0 else {ALPHA} * (exp(x) - 1))",
    derivative=f"{SCALE} * (1 if x > 0 else {ALPHA} * exp(x))",
    range=f"({-SCALE * ALPHA:.4f}, inf)",
    is_saturating=False,
    is_zero_centred=True,
    can_die=False,
    cost="an exponential on the left side",
    gain=1.0,  # exact, by its two constants; torch's own table says 3/4, which breaks the fixed point
    dropout="alpha",
)
def selu() -> nn.SELU:
    """Scaled ELU: keeps mean 0 and variance 1 from layer to layer, with weights of variance 1 / fan_in.

    Cures: signals that drift through many dense layers without a norm. Costs: an exponential; dropout must be alpha
    dropout, and weights or inputs of another size lose the fixed point slowly, never at once.

    >>> import torch
    >>> selu()(torch.tensor([-20.0, 1.0]))
    tensor([-1.7581,  1.0507])
    """
    return nn.SELU()


@activations.card(
    source="Dugas et al. 2001, Incorporating second-order functional knowledge; Glorot, Bordes & Bengio 2011",
    formula="log(1 + exp(beta * x)) / beta",
    derivative="1 / (1 + exp(-beta * x))",
    range="(0, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="an exponential and a logarithm",
    gain=_softplus_gain,
)
def softplus(*, beta: Positive = 1.0) -> nn.Softplus:
    """Softplus: a ReLU without its corner.

    Cures: a slope that jumps. Costs: two slow functions; everything that comes out is positive. Where beta x is above
    20, x itself is returned.

    Args:
        beta: how sharp the bend is; ReLU in the limit.

    >>> import torch
    >>> softplus()(torch.zeros(1))
    tensor([0.6931])
    """
    return nn.Softplus(beta)
