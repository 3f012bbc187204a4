"""How good a network is on one split: loss and accuracy by sample, in evaluation mode."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.stats import Interval, share
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured: mean loss in nats a sample, hits and count.

    >>> Evaluation(0.5, 9, 10).accuracy
    0.9
    """

    loss: float
    hits: int
    count: int

    @property
    def accuracy(self) -> float:
        """Share of samples whose highest score is at their class."""
        return self.hits / self.count

    @property
    def interval(self) -> Interval:
        """The accuracy with its 95 % interval."""
        return share(self.hits, self.count)


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
    kept: list[Tensor] | None = None,
) -> Evaluation:
    """Return loss and accuracy over all samples of a loader, every sample counted once.

    The model's mode and running statistics stay as they were. Where memory runs out, batches are cut.
    `kept` takes the scores (n, K), float32, of each batch in order.
    """
    loss = torch.zeros((), dtype=torch.float64, device=loader.device)
    hits = torch.zeros((), dtype=torch.int64, device=loader.device)
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
            hits += (logits.argmax(1) == batch.targets).sum()
            count += len(batch)
    return Evaluation(float(loss) / count, int(hits), count)
