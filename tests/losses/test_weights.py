"""Class weights against scikit-learn, and the words of their errors."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from trainwell.errors import DataInvalid, ShapeError
from trainwell.losses import class_weights


def test_class_weights_are_scikit_learns_balanced_ones_and_average_to_1_over_samples() -> None:
    labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 23)
    weights = class_weights(labels, 3)
    known = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    np.testing.assert_allclose(weights, known, rtol=1e-6)
    assert weights[labels].mean().item() == pytest.approx(1.0, rel=1e-6)
    sums = torch.zeros(3).index_add(0, labels, weights[labels])
    torch.testing.assert_close(sums, torch.full((3,), 80 / 3))


def test_a_class_without_samples_has_no_weight_and_is_named() -> None:
    with pytest.raises(DataInvalid, match=r"class 1, 3 of 4 has no training sample, .* without class weights"):
        class_weights(torch.tensor([0, 2, 2]), 4)


def test_labels_that_are_no_class_ids_are_refused() -> None:
    with pytest.raises(
        DataInvalid, match="labels must be class ids from 0 to 1, got 1 to 2: number the classes from 0"
    ):
        class_weights(torch.tensor([1, 2]), 2)
    with pytest.raises(ShapeError, match=r"labels must be \(N,\) whole numbers, got \(2, 2\)"):
        class_weights(torch.zeros(2, 2), 2)
