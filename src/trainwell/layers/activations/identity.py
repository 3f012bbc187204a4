"""The activation that is none."""

from torch import nn

from trainwell.core.shelves import activations


@activations.card(
    source="Baldi & Hornik 1989, Neural networks and principal component analysis (linear networks)",
    formula="x",
    derivative="1",
    range="(-inf, inf)",
    is_saturating=False,
    is_zero_centred=True,
    can_die=False,
    cost="nothing",
    gain=1.0,
)
def identity() -> nn.Identity:
    """No activation: a number stays what it is.

    Cures: nothing; it is the baseline. Costs: however many layers, the network is one linear map.

    >>> import torch
    >>> identity()(torch.tensor([-2.0, 3.0]))
    tensor([-2.,  3.])
    """
    return nn.Identity()
