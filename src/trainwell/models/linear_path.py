"""A linear layer solved for over a whole path of penalties: what a classifier on frozen features is.

    minimize over W, b   sum_i w_i loss(W z_i + b, y_i) / sum_i w_i + (strength / 2) ||W||^2

where z are the features, each brought to mean 0 and deviation 1; the biases are free. For cross entropy this is
multinomial logistic regression, whose minimum is the only one; scikit-learn's C is 1 / (strength N). L-BFGS begins at
each strength where it ended at the one before, from strong to weak, so that the whole path costs little more than its
last point.

Source: Friedman, Hastie & Tibshirani 2010, "Regularization paths for generalized linear models via coordinate
descent", section 2.4 (warm starts along a path); Liu & Nocedal 1989 (L-BFGS, scipy's).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from trainwell.errors import DataInvalid

Criterion = Callable[[Tensor, Tensor], Tensor]

STRENGTHS = tuple(float(10**power) for power in np.linspace(1, -5, 19))  # three a decade
MOST_ITERATIONS = 500
STILL = 1e-4  # of the median deviation, below which a feature counts as one that never changes
TOLERANCE = 1e-6  # of the largest component of the gradient, where the loss is in nats and features have deviation 1


@dataclass(frozen=True)
class Linear:
    """One point of the path: scores = codes @ weight.T + bias.

    Attributes:
        strength: of the penalty.
        weight: (K, D) float64, for features as they came.
        bias: (K,) float64.
        loss: mean loss over the samples that it was solved on, without the penalty.
        iterations: of L-BFGS.
    """

    strength: float
    weight: Tensor
    bias: Tensor
    loss: float
    iterations: int

    def scores(self, codes: Tensor) -> Tensor:
        """Return (N, K) scores of features (N, D), float64."""
        return codes.double() @ self.weight.T + self.bias


def linear_path(
    codes: Tensor,
    targets: Tensor,
    criterion: Criterion,
    num_outputs: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
    weight: Tensor | None = None,
    has_bias: bool = True,
) -> Iterator[Linear]:
    """Yield the linear layer at each strength of the penalty, in the order given, strong ones first at best.

    Args:
        codes: features (N, D).
        targets: (N,) classes, or (N, K), as the criterion takes them.
        criterion: (scores (N, K), targets) -> (N,) losses, convex and smooth in the scores.
        num_outputs: K.
        strengths: of the penalty, each above 0.
        weight: (N,) how much each sample counts; None for all alike.
        has_bias: whether the layer has biases; without them features are scaled only, not centred, and b is zero.

    Raises:
        DataInvalid: no samples, or features that are NaN or Inf.

    >>> codes, labels = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    >>> path = linear_path(codes, labels, torch.nn.CrossEntropyLoss(reduction="none"), 2)
    >>> [round(point.loss, 3) for point in path][:3]
    [0.647, 0.601, 0.522]
    """
    _check(codes)
    scaled, centre, spread = _standardized(codes, is_centred=has_bias)
    inner, basis = _reduced(scaled)
    share = torch.ones(len(codes), dtype=torch.float64) if weight is None else weight.double().cpu()
    share = share / share.sum()
    targets = targets.cpu()
    targets = targets.double() if targets.is_floating_point() else targets
    size = inner.shape[1]
    inputs = torch.cat([inner, torch.ones(len(inner), 1, dtype=torch.float64)], 1) if has_bias else inner
    values = np.zeros(num_outputs * inputs.shape[1])
    for strength in strengths:

        def objective(flat: np.ndarray, strength: float = strength) -> tuple[float, np.ndarray]:
            table = torch.from_numpy(flat).view(num_outputs, -1).requires_grad_()
            losses = criterion(inputs @ table.T, targets)
            whole = (losses * share).sum() + strength / 2 * table[:, :size].square().sum()
            (slope,) = torch.autograd.grad(whole, table)
            return float(whole.detach()), slope.numpy().ravel()

        options = {"maxiter": MOST_ITERATIONS, "gtol": TOLERANCE, "ftol": 1e-12, "maxcor": 20}
        found = minimize(objective, values, jac=True, method="L-BFGS-B", options=options)
        values = found.x
        table = torch.from_numpy(values.copy()).view(num_outputs, -1)
        matrix = table[:, :size] @ basis.T / spread  # (K, r) -> (K, D), for features as they came
        bias = table[:, size:].sum(1) - matrix @ centre
        with torch.no_grad():
            loss = float((criterion(inputs @ table.T, targets) * share).sum())
        yield Linear(strength, matrix, bias, loss, int(found.nit))


def _check(codes: Tensor) -> None:
    if codes.dim() != 2 or not len(codes):
        raise DataInvalid(f"a linear layer is solved for from features (N, D) with N > 0, got {tuple(codes.shape)}")
    bad = (~codes.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise DataInvalid(
            f"the features of {len(bad)} of {len(codes)} samples are NaN or Inf, first of sample {bad[0]}"
        )


def _standardized(codes: Tensor, *, is_centred: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return features of mean 0 and deviation 1, and both.

    One that never changes, or hardly beside the others, becomes 0: a head would answer to its noise with huge weights.
    """
    codes = codes.detach().double().cpu()
    centre = codes.mean(0)
    spread = (codes - centre).square().mean(0).sqrt()
    is_still = codes.amax(0) == codes.amin(0)
    if not bool(is_still.all()):
        is_still |= spread < STILL * spread[~is_still].median()
    spread = torch.where(is_still, torch.inf, spread)
    centre = centre if is_centred else torch.zeros_like(centre)
    return (codes - centre) / spread, centre, spread


def _reduced(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Return features in an orthonormal basis of the rows, (N, r), and that basis, (D, r).

    The best weights lie in the span of the samples, so that with fewer samples than features this changes nothing but
    the time it takes.
    """
    count, size = scaled.shape
    if count >= size:
        return scaled, torch.eye(size, dtype=torch.float64)
    _, values, rows = torch.linalg.svd(scaled, full_matrices=False)
    rank = max(1, int((values > values[0] * 1e-12).sum()))
    basis = rows[:rank].T.contiguous()
    return scaled @ basis, basis
