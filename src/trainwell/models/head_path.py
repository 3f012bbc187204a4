"""A linear head on codes: solved for along a path of penalties, and chosen by samples that it has not seen.

The strength is chosen on a val split, or, where that is too small to choose by, by cross-validation of the samples
themselves, as many of each class in each fold. The path ends once the choice has got worse for a while: what lies
beyond costs most and is never taken.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainwell.core.chance import Chance
from trainwell.models.linear_path import STRENGTHS, Criterion, Linear, linear_path

LEAST_TO_CHOOSE_BY = 200  # samples of val; with fewer the choice would follow their chance more than the penalty
FOLDS = 5
PATIENCE = 4  # strengths behind the best one that are still tried


@dataclass(frozen=True)
class Codes:
    """What the head is given of one split: codes (N, D) float32, targets (N, ...), and the samples' weights or None."""

    codes: Tensor
    targets: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Tensor) -> "Codes":
        """Return some samples."""
        return Codes(self.codes[rows], self.targets[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True)
class Solved:
    """The head at each strength that was tried, and which was chosen.

    Attributes:
        path: from the strongest penalty to the weakest.
        losses: what each was judged by, a mean over samples that it had not seen.
        by_val: whether these were the val split, and not left-out parts of train.
    """

    path: tuple[Linear, ...]
    losses: tuple[float, ...]
    by_val: bool

    @property
    def place(self) -> int:
        """Where on the path the chosen head is."""
        return min(range(len(self.losses)), key=lambda place: _or_infinite(self.losses[place]))

    @property
    def chosen(self) -> Linear:
        """The head that is taken."""
        return self.path[self.place]


def solve_head(
    train: Codes,
    val: Codes | None,
    criterion: Criterion,
    num_outputs: int,
    *,
    seed: int,
    has_bias: bool = True,
    is_stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Solved | None:
    """Return the heads along the path, and the best of them; None where somebody asked to stop.

    Args:
        train: to solve on.
        val: to choose by, where it has at least `LEAST_TO_CHOOSE_BY` samples.
        criterion: (scores, targets) -> (N,) losses, convex and smooth in the scores.
        num_outputs: K.
        seed: of the folds.
        has_bias: whether the head has biases.
        is_stopped: asked between strengths.
        progress: called as `progress(done, total)` with strengths.

    >>> codes = Codes(torch.randn(60, 4), torch.arange(60) % 3)
    >>> solved = solve_head(codes, None, torch.nn.CrossEntropyLoss(reduction="none"), 3, seed=0)
    >>> solved is not None and len(solved.path) == len(solved.losses) <= 19
    True
    """
    by_val = val is not None and len(val) >= LEAST_TO_CHOOSE_BY
    if val is not None and by_val:
        parts = [(train, val)]
    else:
        parts = [(train.take(rest), train.take(out)) for out, rest in _folds(train.targets, seed)]
    whole = _path(train, criterion, num_outputs, has_bias)
    tried = [iter(whole) if part is train else _path(part, criterion, num_outputs, has_bias) for part, _ in parts]
    path, losses = list[Linear](), list[float]()
    for done in range(len(STRENGTHS)):
        if is_stopped():
            return None
        points = [next(one) for one in tried]
        path.append(points[0] if by_val else next(whole))
        sums = (_sum(criterion, point, judged) for point, (_, judged) in zip(points, parts, strict=True))
        losses.append(sum(sums) / sum(len(judged) for _, judged in parts))
        progress(done + 1, len(STRENGTHS))
        best = min(range(len(losses)), key=lambda place: _or_infinite(losses[place]))
        if done - best >= PATIENCE:
            break
    progress(len(STRENGTHS), len(STRENGTHS))
    return Solved(tuple(path), tuple(losses), by_val)


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _path(part: Codes, criterion: Criterion, num_outputs: int, has_bias: bool) -> Iterator[Linear]:
    return linear_path(part.codes, part.targets, criterion, num_outputs, weight=part.weight, has_bias=has_bias)


def _sum(criterion: Criterion, point: Linear, judged: Codes) -> float:
    targets = judged.targets.double() if judged.targets.is_floating_point() else judged.targets
    return float(criterion(point.scores(judged.codes), targets).sum())


def _folds(targets: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the left-out rows and the rest, for each fold; of classes, as many of each in each fold."""
    count = len(targets)
    order = Chance(seed, "folds").permutation(0, count)
    if targets.dim() == 1 and not targets.is_floating_point():
        order = order[targets[order].argsort(stable=True)]
    folds = min(FOLDS, count)
    for fold in range(folds):
        is_out = torch.zeros(count, dtype=torch.bool)
        is_out[order[fold::folds]] = True
        yield is_out.nonzero().flatten(), (~is_out).nonzero().flatten()
