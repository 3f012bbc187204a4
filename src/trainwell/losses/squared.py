"""Squared error: what regression minimizes, and an old loss for classes that is better than its name.

Source: Gauss 1809; for class scores against one-hot targets, Hui & Belkin 2020, arXiv:2006.07322, section 2.
"""

from torch import Tensor

from trainwell.core.shelves import losses
from trainwell.losses.criterion import Criterion, one_number_each


@losses.card(
    source="Gauss 1809; Hui & Belkin 2020, arXiv:2006.07322 (classes)",
    tasks=("numbers", "classes"),
    unit="squared deviations",
    aims_at=1.0,
)
def squared_error() -> Criterion:
    """Mean squared difference between outputs and targets; class ids are compared as one-hot rows.

    For numbers it finds the conditional mean. For classes the raw scores, without a softmax, are pulled to 1 at the
    class and to 0 elsewhere: a score that is right and larger than 1 costs again. One far outlier outweighs many
    samples, since its share grows with the square.

    Returns:
        `mean_squares`: (outputs (N, M), targets) -> (N,).

    >>> import torch
    >>> squared_error()(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
    tensor([2.])
    """
    return mean_squares


def mean_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the outputs of the squared difference, one value per sample.

        loss_n = (1 / M) sum_m (f_nm - y_nm)^2

    There is no factor 1/2: its gradient is 2 (f - y) / M.

    Args:
        outputs: (N, M), or (N,) where there is one.
        targets: (N, M) floats, (N,) floats where M is 1, or (N,) int64 class ids.

    Returns:
        (N,) losses in the square of the targets' unit, not averaged over samples.

    Raises:
        ShapeError: outputs and targets do not fit each other.
    """
    outputs, targets = one_number_each(outputs, targets)
    return (outputs - targets).square().mean(1)
