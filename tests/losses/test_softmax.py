"""Cross-entropy against NumPy and scikit-learn, and the words of its errors."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from trainwell.core.shelves import losses
from trainwell.errors import OptionInvalid, ShapeError
from trainwell.losses import cross_entropy, smooth_cross_entropy


def rewrite(logits: np.ndarray, soft: np.ndarray, smoothing: float) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -(((1 - smoothing) * soft + smoothing / logits.shape[1]) * log_p).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_ids_and_soft_targets_equal_a_rewrite_in_float64(smoothing: float) -> None:
    generator = np.random.default_rng(0)
    logits, ids = 5 * generator.normal(size=(20, 6)), generator.integers(6, size=20)
    soft = generator.dirichlet(np.ones(6), size=20)
    ours = smooth_cross_entropy(torch.tensor(logits), torch.tensor(ids), smoothing=smoothing)
    np.testing.assert_allclose(ours, rewrite(logits, np.eye(6)[ids], smoothing), rtol=1e-12)
    ours = smooth_cross_entropy(torch.tensor(logits), torch.tensor(soft), smoothing=smoothing)
    np.testing.assert_allclose(ours, rewrite(logits, soft, smoothing), rtol=1e-12)


def test_its_mean_is_scikit_learns_log_loss() -> None:
    logits, ids = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 4
    known = log_loss(ids.numpy(), logits.softmax(1).numpy())
    assert cross_entropy()(logits, ids).mean().item() == pytest.approx(known, rel=1e-9)


def test_equal_scores_cost_ln_k_with_any_smoothing() -> None:
    for smoothing in (0.0, 0.2):
        losses_of_two = cross_entropy(smoothing=smoothing)(torch.zeros(2, 7), torch.tensor([0, 6]))
        assert losses_of_two.tolist() == pytest.approx([math.log(7)] * 2)


def test_its_gradient_is_softmax_minus_target() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 2, 1, 1, 0])
    smooth_cross_entropy(logits, ids, smoothing=0.3).sum().backward()
    target = 0.7 * torch.eye(3, dtype=torch.float64)[ids] + 0.1
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - target)


def test_scores_of_low_precision_are_summed_in_float32() -> None:
    logits = torch.randn(8, 100).bfloat16()
    ours = cross_entropy()(logits, torch.arange(8))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours, rewrite(logits.float().numpy(), np.eye(100)[:8], 0.0), rtol=1e-5)


def test_huge_scores_stay_finite() -> None:
    assert cross_entropy()(torch.tensor([[1e30, 0.0]]), torch.tensor([1])).item() == pytest.approx(1e30)


def test_no_label_is_ignored_in_silence_minus_100_neither() -> None:
    with pytest.raises(IndexError):
        smooth_cross_entropy(torch.zeros(2, 3), torch.tensor([0, -100]))


@pytest.mark.parametrize(
    ("logits", "targets", "words"),
    [
        ((2, 3, 4), torch.zeros(2, dtype=torch.int64), r"logits must be \(N, K\).* got \(2, 3, 4\): flatten or pool"),
        (
            (32, 10),
            torch.zeros(32, 10, dtype=torch.int64),
            r"\(N,\) = \(32,\), got \(32, 10\): pass class ids, or soft",
        ),
        ((4, 3), torch.zeros(5, dtype=torch.int64), r"targets must be \(N,\) = \(4,\), got \(5,\)"),
        (
            (4, 3),
            torch.zeros(4),
            r"targets must be \(N, K\) = \(4, 3\), got \(4,\): soft targets need one number a class",
        ),
        ((4, 3), torch.zeros(4, dtype=torch.int32), r"class ids must be int64, got torch.int32: convert them"),
    ],
)
def test_wrong_shapes_are_refused_with_a_cure(logits: tuple[int, ...], targets: torch.Tensor, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        cross_entropy()(torch.zeros(logits), targets)


def test_smoothing_of_one_leaves_no_label_and_is_refused() -> None:
    with pytest.raises(OptionInvalid, match=r"cross_entropy:smoothing must be a number >= 0 and < 1, got 1\.0"):
        losses.build("cross_entropy", {"smoothing": 1.0})
