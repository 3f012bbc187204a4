"""Losses and scores of the last few steps, kept on the device and brought over in one go.

Reading one loss makes the host wait for the device; reading 32 at once makes it wait once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.train.scoring import Scoring

LARGE = 1 << 24


@dataclass(frozen=True)
class Drained:
    """What came out: the first step, and for each step the sums over its samples.

    `weights[t]` is the sum of the samples' weights (their count where all weigh alike), `sums[t]` the
    weighted sum of their losses, `hits[t]` the sum of their scores: for classes, how many were scored highest at
    their class. `count` is the samples of all steps. `penalties` holds, for each penalty, its term in each step.
    """

    first_step: int
    sums: list[float]
    weights: list[float]
    hits: list[float]
    count: int
    penalties: list[list[float]]

    @property
    def losses(self) -> list[float]:
        """The mean loss of each step."""
        return [loss / weight for loss, weight in zip(self.sums, self.weights, strict=True)]

    @property
    def first_bad(self) -> int | None:
        """The first step whose loss is NaN or Inf."""
        bad = np.flatnonzero(~np.isfinite(self.losses))
        return self.first_step + int(bad[0]) if bad.size else None


class StepBuffer:
    """Collects losses (N,), outputs (N, K) and targets of consecutive steps; `scoring` says how good these are."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self.clear()

    def clear(self) -> None:
        """Forget what was collected."""
        self._first_step = 0
        self._losses: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._sizes: list[int] = []
        self._penalties: list[Tensor] = []

    @property
    def is_large(self) -> bool:
        """Whether the scores take more memory than they should: 16 million numbers."""
        return bool(self._logits) and self._logits[0].numel() * len(self._logits) > LARGE

    def __len__(self) -> int:
        return len(self._sizes)

    def add(
        self, step: int, losses: list[Tensor], logits: list[Tensor], batch: Batch, *, penalties: Tensor | None = None
    ) -> None:
        """Take one step: its micro-batches' losses and outputs, the whole batch, and its penalties (P,)."""
        if not self._sizes:
            self._first_step = step
        self._losses += losses
        self._logits += logits
        self._targets.append(batch.targets)
        self._sizes.append(len(batch))
        if batch.weight is not None:
            self._weights.append(batch.weight)
        if penalties is not None:
            self._penalties.append(penalties)

    def drain(self) -> Drained:
        """Return what was collected and forget it; waits for the device.

        Each step is summed in float64 in sample order, so that it does not depend on how many steps were
        drained together.
        """
        scores = self._scoring(torch.cat(self._logits), torch.cat(self._targets)).cpu().numpy()
        scores = scores.astype(np.int64) if scores.dtype == np.bool_ else scores
        losses = torch.cat(self._losses).double().cpu().numpy()
        weights = torch.cat(self._weights).double().cpu().numpy() if self._weights else np.ones_like(losses)
        starts = np.cumsum([0, *self._sizes[:-1]])
        weighted = np.add.reduceat(losses * weights, starts)
        shares = np.add.reduceat(weights, starts)
        hits = np.add.reduceat(scores, starts).tolist()
        terms = torch.stack(self._penalties, dim=1).tolist() if self._penalties else []  # (P, steps)
        drained = Drained(self._first_step, weighted.tolist(), shares.tolist(), hits, len(losses), terms)
        self.clear()
        return drained
