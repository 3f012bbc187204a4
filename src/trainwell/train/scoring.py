"""The score of samples: what stands beside the loss of a run, and what the readings of both mean."""

import torch
from torch import Tensor

from trainwell.core.record import Measure
from trainwell.core.task import Task


class Scoring:
    """How good each answer on one split is; the mean over its samples is the score of the task.

    For classes and labels an answer is right or not. For numbers it is 1 minus its squared error over the variance of
    the split, mean over the numbers: the mean over all samples is then R² exactly, and not a number where a number of
    the split has no variance.

    Args:
        task: what is answered.
        targets: of all samples of the split.

    >>> from trainwell.core.task import TASKS
    >>> Scoring(TASKS["classes"], torch.tensor([0, 1]))(torch.tensor([[1.0, 2.0]]), torch.tensor([1])).tolist()
    [True]
    """

    def __init__(self, task: Task, targets: Tensor) -> None:
        self.task = task
        self._variance: Tensor | None = None
        if task.name == "numbers":
            variance = targets.double().var(0, unbiased=False)  # (N, M) -> (M,)
            self._variance = torch.where(variance > 0, variance, torch.nan)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (n,) how good the answers are: bool for classes and labels, float64 for numbers.

        Args:
            outputs: (n, K) of the network.
            targets: of the same samples, in the form of the task; classes may be soft (n, K).
        """
        if self._variance is not None:
            errors = outputs.double() - targets.double()
            return 1 - (errors.square() / self._variance.to(errors.device)).mean(1)
        if self.task.name == "labels":
            return ((outputs.sigmoid() >= 0.5) == (targets >= 0.5)).all(1)
        classes = targets if targets.ndim == 1 else targets.argmax(1)
        return outputs.argmax(1) == classes


def loop_measures(task: Task, unit: str) -> tuple[Measure, ...]:
    """Return what the readings of the loop mean; `unit` is that of the loss."""
    score = task.score
    return (
        Measure("train/loss", unit, "mean loss over the samples of one step, before the step changes the weights"),
        Measure("epoch/loss", unit, "mean of train/loss over all samples of an epoch, while the weights move"),
        score.measure(f"epoch/train_{score.key}", "the epoch's samples"),
        Measure("val/loss", unit, "mean loss over the val split after the epoch, in evaluation mode"),
        _after(score.measure(f"val/{score.key}", "the val split")),
        Measure("lr", "per step", "learning rate of the epoch's last step, first parameter group"),
    )


def _after(measure: Measure) -> Measure:
    return Measure(measure.name, measure.unit, f"{measure.definition} after the epoch")


def final_measures(task: Task, unit: str) -> tuple[Measure, ...]:
    """Return what the readings at the end of a run mean; `unit` is that of the loss."""
    score = task.score
    return tuple(
        Measure(f"{split}/{name}", unit_of, f"{words} of the weights that the run reports, on the {place} split")
        for split, place in (("final/val", "val"), ("final/test", "test"))
        for name, unit_of, words in (("loss", unit, "mean loss"), (score.key, score.unit, score.title))
    )
