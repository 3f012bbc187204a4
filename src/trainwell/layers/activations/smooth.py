"""Activations that weigh a number by how large it is: GELU, SiLU and Mish."""

from torch import nn

from trainwell.core.shelves import activations
from trainwell.layers.gains import keeping_gain


def _gelu_gain() -> float:
    return keeping_gain(nn.GELU())


def _silu_gain() -> float:
    return keeping_gain(nn.SiLU())


def _mish_gain() -> float:
    return keeping_gain(nn.Mish())


@activations.card(
    source="Hendrycks & Gimpel 2016, arXiv:1606.08415",
    formula="x * Phi(x)",
    derivative="Phi(x) + x * phi(x)",
    range="(-0.1700, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="an error function",
    gain=_gelu_gain,
)
def gelu() -> nn.GELU:
    """Gaussian error linear unit: each number times the chance that a unit Gaussian lies below it.

    Cures: the corner of ReLU; the usual choice of transformers. Costs: an error function, several times a ReLU.

    >>> import torch
    >>> gelu()(torch.tensor([-1.0, 1.0]))
    tensor([-0.1587,  0.8413])
    """
    return nn.GELU()


@activations.card(
    source="Elfwing, Uchibe & Doya 2018, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941 (as swish)",
    formula="x / (1 + exp(-x))",
    derivative="(1 + exp(-x) * (1 + x)) / (1 + exp(-x))**2",
    range="(-0.2785, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="an exponential and a division",
    gain=_silu_gain,
)
def silu() -> nn.SiLU:
    """Sigmoid linear unit, also called swish: each number times its own sigmoid.

    Cures: the corner of ReLU. Costs: an exponential.

    >>> import torch
    >>> silu()(torch.tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """
    return nn.SiLU()


@activations.card(
    source="Misra 2019, arXiv:1908.08681",
    formula="x * tanh(log(1 + exp(x)))",
    derivative="tanh(log(1 + exp(x))) + x * (1 - tanh(log(1 + exp(x)))**2) / (1 + exp(-x))",
    range="(-0.3088, inf)",
    is_saturating=False,
    is_zero_centred=False,
    can_die=False,
    cost="two exponentials and a logarithm",
    gain=_mish_gain,
)
def mish() -> nn.Mish:
    """Mish: each number times the hyperbolic tangent of its softplus.

    Cures: the corner of ReLU. Costs: the slowest of the smooth ones.

    >>> import torch
    >>> mish()(torch.tensor([-1.0, 1.0]))
    tensor([-0.3034,  0.8651])
    """
    return nn.Mish()
