"""How good a network is on one split: loss and score by sample, in evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.stats import UNDEFINED, Interval, share
from trainwell.core.task import TASKS, Score, Task
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline
from trainwell.train.scoring import Scoring


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured: mean loss a sample, the sum of the samples' scores (hits, where each is right or
    not), their count, and which score it is.

    >>> Evaluation(0.5, 9, 10).accuracy
    0.9
    """

    loss: float
    hits: float
    count: int
    kind: Score = TASKS["classes"].score

    @property
    def score(self) -> float:
        """The score of the task: accuracy of classes, R² of numbers, exact match of labels."""
        return self.hits / self.count

    @property
    def accuracy(self) -> float:
        """The score, where it is the share of samples whose highest score is at their class."""
        return self.score

    @property
    def interval(self) -> Interval:
        """The score with its 95 % interval, where it is a share of samples; undefined else, see the metrics."""
        return share(round(self.hits), self.count) if self.kind.is_share else UNDEFINED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out, on any device."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in words or "alloc_failed" in words


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and afterwards each back into the mode that it had.

    >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    >>> with evaluation_mode(net):
    ...     assert not net[0].training
    >>> net[0].training, net[1].training
    (True, False)
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Loader,
    pipeline: Pipeline,
    criterion: Callable[[Tensor, Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
    *,
    task: Task,
    kept: list[Tensor] | None = None,
) -> Evaluation:
    """Return loss and score over all samples of a loader, every sample counted once.

    The model's mode and running statistics stay as they were. Where memory runs out, batches are cut.
    `kept` takes the scores (n, K), float32, of each batch in order.
    """
    loss = torch.zeros((), dtype=torch.float64, device=loader.device)
    scoring = Scoring(task, loader.targets)
    is_counted = task.score.is_share
    hits = torch.zeros((), dtype=torch.int64 if is_counted else torch.float64, device=loader.device)
    count, pieces = 0, 1

    def scores(batch: Batch) -> Tensor:
        with autocast():
            return torch.cat([model(piece.inputs) for piece in batch.split(pieces)])

    with evaluation_mode(model):
        for batch in loader.epoch(0):
            batch = pipeline(batch, 0)
            while True:
                try:
                    logits = scores(batch)
                    break
                except RuntimeError as error:
                    if not is_out_of_memory(error) or pieces * 2 > len(batch):
                        raise
                    pieces *= 2
            loss += criterion(logits.float(), batch.targets).sum(dtype=torch.float64)
            if kept is not None:
                kept.append(logits.float())
            hits += scoring(logits, batch.targets).sum()
            count += len(batch)
    return Evaluation(float(loss) / count, hits.item(), count, task.score)
