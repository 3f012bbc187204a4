"""Binary cross-entropy: each output is a question of its own, answered yes or no by a sigmoid.

Source: Cox 1958, "The regression analysis of binary sequences".
"""

from functools import partial

from torch import Tensor
from torch.nn import functional

from trainwell.core.shelves import losses
from trainwell.core.units import Positive
from trainwell.losses.criterion import Criterion, one_number_each


@losses.card(source="Cox 1958, The regression analysis of binary sequences", tasks=("labels", "classes"), unit="nats")
def binary_cross_entropy(*, pos_weight: Positive = 1.0) -> Criterion:
    """Cross-entropy of a sigmoid for each output, averaged over the outputs; any number of labels may be true.

    One output makes it logistic regression. Given class ids, each class is asked against the rest; unlike with a
    softmax, the classes then do not compete.

    Args:
        pos_weight: what a true label counts for; above 1 where labels are rare and finding them matters more than
            false alarms. Probabilities are then too high.

    Returns:
        `sigmoid_cross_entropy` with that weight: (logits (N, K), targets) -> (N,).

    >>> import torch
    >>> binary_cross_entropy()(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 1.0]]))
    tensor([0.6931])
    """
    return partial(sigmoid_cross_entropy, pos_weight=pos_weight)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor, *, pos_weight: float = 1.0) -> Tensor:
    """Return the mean over the outputs of the binary cross-entropy, one value per sample.

        loss_n = -(1 / K) sum_k [w y_nk log sigmoid(s_nk) + (1 - y_nk) log sigmoid(-s_nk)]

    Computed from the scores, so that large ones of either sign lose nothing.

    Args:
        logits: (N, K) raw scores, or (N,) where there is one.
        targets: (N, K) floats from 0 to 1, (N,) floats where K is 1, or (N,) int64 class ids.
        pos_weight: w.

    Returns:
        (N,) losses in nats, not averaged over samples.

    Raises:
        ShapeError: logits and targets do not fit each other.
    """
    logits, targets = one_number_each(logits, targets)
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return -(pos_weight * targets * yes + (1 - targets) * no).mean(1)
