"""How much each class counts in the loss, so that rare ones are not drowned.

Source: King & Zeng 2001, "Logistic regression in rare events data".
"""

import torch
from torch import Tensor

from trainwell.errors import DataInvalid, ShapeError


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return the weight of each class that makes all classes count alike: "balanced" weights.

        w_k = N / (K * n_k)

    `class_weights(labels, K)[labels]` is then the weight of each sample; these average to 1, so the
    size of the loss and the best learning rate stay as they were.

    Args:
        labels: (N,) int64 class ids of the training split.
        num_classes: K.

    Returns:
        (K,) float32, on the labels' device.

    Raises:
        ShapeError: labels are not (N,) whole numbers.
        DataInvalid: an id is outside [0, K), or a class has no sample and so no weight.

    Source: King & Zeng 2001, "Logistic regression in rare events data".

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    if labels.ndim != 1 or labels.is_floating_point():
        raise ShapeError(f"labels must be (N,) whole numbers, got {tuple(labels.shape)} {labels.dtype}: pass class ids")
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise DataInvalid(
            f"labels must be class ids from 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}: "
            "number the classes from 0"
        )
    counts = torch.bincount(labels, minlength=num_classes)
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise DataInvalid(
            f"class {', '.join(map(str, empty))} of {num_classes} has no training sample, so no balanced weight: "
            "add samples, remove the class, or train without class weights"
        )
    return (len(labels) / (num_classes * counts.double())).float()
