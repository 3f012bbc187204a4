"""Activations between two flat ends: the sigmoid and the hyperbolic tangent."""

from torch import nn

from trainwell.core.shelves import activations
from trainwell.layers.gains import keeping_gain


def _sigmoid_gain() -> float:
    return keeping_gain(nn.Sigmoid())


@activations.card(
    source="Rumelhart, Hinton & Williams 1986; LeCun et al. 1998, Efficient BackProp, section 4.4 (against it)",
    formula="1 / (1 + exp(-x))",
    derivative="exp(-x) / (1 + exp(-x))**2",
    range="(0, 1)",
    is_saturating=True,
    is_zero_centred=False,
    can_die=False,
    cost="an exponential and a division",
    gain=_sigmoid_gain,
)
def sigmoid() -> nn.Sigmoid:
    """Logistic sigmoid: squashes every number to between 0 and 1.

    Cures: unbounded outputs; reads as a probability or as a gate. Costs: both ends are flat, its slope is at most
    1/4, and its outputs are all positive, so that for a sample all weights of a unit get gradients of one sign.

    >>> import torch
    >>> sigmoid()(torch.zeros(1))
    tensor([0.5000])
    """
    return nn.Sigmoid()


@activations.card(
    source="LeCun et al. 1998, Efficient BackProp, section 4.4",
    formula="tanh(x)",
    derivative="1 - tanh(x)**2",
    range="(-1, 1)",
    is_saturating=True,
    is_zero_centred=True,
    can_die=False,
    cost="an exponential and a division",
    gain=5 / 3,  # the customary one: 5 % above what keeps the second moment of a unit Gaussian signal
)
def tanh() -> nn.Tanh:
    """Hyperbolic tangent: a sigmoid centred at 0, tanh(x) = 2 sigmoid(2x) - 1.

    Cures: outputs of one sign. Costs: both ends are flat, so that gradients vanish through many layers.

    >>> import torch
    >>> tanh()(torch.tensor([-20.0, 0.0, 20.0]))
    tensor([-1.,  0.,  1.])
    """
    return nn.Tanh()
