"""What a run tells the people who watch it: the words of the loop, whoever shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trainwell.core.machine import AutoChoice
from trainwell.core.recipe import Recipe
from trainwell.core.task import TASKS, Score


@dataclass(frozen=True)
class StartReport:
    """What was found and decided, before the first step.

    Attributes:
        recipe: resolved.
        data: what `data.json` says.
        choices: every automatic choice with its reason; all of them stand in `machine.json`.
        weights: numbers in the network that are trained; `frozen`: those that are not, at the start.
        steps: of the whole run.
        path: the run folder.
    """

    recipe: Recipe
    data: Mapping[str, Any]
    choices: Sequence[AutoChoice]
    weights: int
    steps: int
    path: Path
    frozen: int = 0


@dataclass(frozen=True)
class EpochReport:
    """One finished pass over the training split.

    `train_score` is counted during the pass, while the weights move; `val_*` are None without a
    val split; `score` says which score they are. `seconds` is the time of the pass with its evaluation.
    """

    epoch: int
    epochs: int
    loss: float
    train_score: float
    val_loss: float | None
    val_score: float | None
    lr: float
    images_per_second: float
    seconds: float
    score: Score = TASKS["classes"].score

    def __str__(self) -> str:
        val = "" if self.val_score is None else f", val {self.val_score:.3f}"
        return (
            f"epoch {self.epoch}/{self.epochs}: loss {self.loss:.3f}, {named(self.score)}train"
            f" {self.train_score:.3f}{val}, lr {self.lr:.1e}"
        )


@dataclass(frozen=True)
class StepReport:
    """Where the run is within an epoch; `train_score` is that of the epoch so far."""

    epoch: int
    epochs: int
    step: int
    total_steps: int
    loss: float
    train_score: float
    images_per_second: float
    seconds_left: float
    score: Score = TASKS["classes"].score


def named(score: Score) -> str:
    """Return what stands in front of the numbers of a score; nothing for accuracy, which everyone expects.

    >>> named(TASKS["numbers"].score)
    'R² '
    """
    return "" if score.key == "accuracy" else f"{score.title} "


class Reporter(Protocol):
    """Whoever shows a run."""

    def start(self, report: StartReport) -> None:
        """Show what was found and decided."""
        ...

    def say(self, text: str) -> None:
        """Show one sentence that should stay."""
        ...

    def step(self, report: StepReport) -> None:
        """Show where the run is; called every few steps."""
        ...

    def epoch(self, report: EpochReport) -> None:
        """Show a finished epoch."""
        ...

    def work(self, what: str, done: int, total: int) -> None:
        """Show how far a preparation is, such as decoding."""
        ...


class Silence:
    """A reporter that shows nothing."""

    def start(self, report: StartReport) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def step(self, report: StepReport) -> None:
        """Show nothing."""

    def epoch(self, report: EpochReport) -> None:
        """Show nothing."""

    def work(self, what: str, done: int, total: int) -> None:
        """Show nothing."""
