"""A penalty on the size of the scores: what keeps the last layer of a net without norms from growing.

Source: Dauphin & Cubuk 2021, "Deconstructing the regularization of BatchNorm", section 3.
"""

from collections.abc import Callable

from torch import Tensor

from trainwell.core.shelves import penalties
from trainwell.core.units import Amount


@penalties.card(source="Dauphin & Cubuk 2021, Deconstructing the regularization of BatchNorm", of="scores")
def functional_l2(*, strength: Amount = 1e-2) -> Callable[[Tensor], Tensor]:
    """Squared size of the scores, sample by sample: keeps the function small, however large its weights are.

        strength * sum_k f_k(x_n)^2

    Samples count in it as they count in the loss. It curbs the confidence of a classifier, and pulls predicted
    numbers towards their mean. Costs next to nothing.

    Args:
        strength: usually 1e-3 to 1e-1.

    Returns:
        (scores (N, K)) -> (N,).

    >>> import torch
    >>> functional_l2(strength=0.5)(torch.tensor([[1.0, 3.0]]))
    tensor([5.])
    """
    return lambda scores: strength * scores.square().sum(1)
