"""A run and what came of it, and what may be handed over to one in Python."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from trainwell.core.recipe import Recipe
from trainwell.core.record import Reading, read_readings
from trainwell.core.task import TaskName
from trainwell.errors import RunInvalid
from trainwell.metrics import AnyMetrics, measure_task
from trainwell.train.evaluate import Evaluation
from trainwell.train.folder import RunFolder
from trainwell.train.keep import ANSWERS, read_kept


@dataclass(frozen=True, repr=False)
class Run:
    """A run and what came of it.

    Attributes:
        path: the run folder.
        recipe: the resolved recipe.
        classes: names of the classes, in the order of the scores; or of the numbers, or of the labels.
        model: the network with the reported weights, if it was trained in this process.
        epochs: passes over the training split that were done.
        seconds: time spent in this process.
        epochs_before: of these passes, how many had been done when this process took over.
        val, test: evaluations of the reported weights, in float32; None where there is no such split.
        looks: how often the run has reached an end so far, and val and test were evaluated there.
    """

    path: Path
    recipe: Recipe
    classes: tuple[str, ...]
    epochs: int
    seconds: float
    val: Evaluation | None
    test: Evaluation | None
    model: nn.Module | None = None
    epochs_before: int = 0
    looks: int = 1

    def __repr__(self) -> str:
        if self.task == "classes":
            return f"Run({str(self.path)!r}, val_accuracy={self.val_accuracy}, test_accuracy={self.test_accuracy})"
        return f"Run({str(self.path)!r}, task={self.task}, val_score={self.val_score}, test_score={self.test_score})"

    @property
    def task(self) -> TaskName:
        """What the network answers: classes, numbers or labels."""
        task = self.recipe.data.task
        return "classes" if task == "auto" else task

    @property
    def val_score(self) -> float | None:
        """The score of the task (accuracy, R² or exact match) on the val split, which chose the weights."""
        return None if self.val is None else self.val.score

    @property
    def test_score(self) -> float | None:
        """The score of the task on the test split, which is looked at only at the end of a run."""
        return None if self.test is None else self.test.score

    @property
    def score(self) -> float | None:
        """The score of the task on test, or on val where there is no test split."""
        return self.val_score if self.test is None else self.test_score

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on the val split, which chose the weights; None where the task is not classes."""
        return self.val_score if self.task == "classes" else None

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the test split, looked at only at the end of a run; None where the task is not classes."""
        return self.test_score if self.task == "classes" else None

    @property
    def accuracy(self) -> float | None:
        """Accuracy on test, or on val where there is no test split; None where the task is not classes."""
        return self.val_accuracy if self.test is None else self.test_accuracy

    @cached_property
    def metrics(self) -> AnyMetrics | None:
        """Every metric with its interval, on test, or on val where there is no test split; None without both.

        Measured from the stored predictions when it is first asked for.

        Raises:
            RunDamaged: the stored predictions were altered or cut short.
        """
        split = "val" if self.test is None else "test"
        answers, targets = f"{split}/{ANSWERS[self.task]}", f"{split}/targets"
        kept = read_kept(RunFolder(self.path).predictions, answers, targets)
        return measure_task(self.task, kept[answers], kept[targets], self.classes) if len(kept) == 2 else None

    @property
    def takes_files(self) -> bool:
        """Whether its classifier takes image files: its samples are images of one form."""
        return bool(self._data["form"])

    @property
    def takes_tables(self) -> bool:
        """Whether its network takes tables: it was trained on columns that have names."""
        return bool(self._data.get("columns"))

    @property
    def _data(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(RunFolder(self.path).data.read_text("utf-8"))
        return plain

    def report(self) -> Path:
        """Return the path of the page that shows the run; it works without a network, from a mail too.

        Raises:
            RunInvalid: there is none: `trainwell report RUN` writes it.
        """
        path = RunFolder(self.path).report
        if not path.exists():
            raise RunInvalid(f"{self.path} has no report.html: write it with `trainwell report {self.path}`")
        return path

    def _repr_html_(self) -> str:
        """Return what came of the run as a table, for notebooks."""
        metrics, noun = self.metrics, "epoch" if self.epochs == 1 else "epochs"
        head = f"<p><b>{html.escape(str(self.path))}</b>: {self.epochs} {noun}, {self.seconds:.1f} s</p>"
        return head if metrics is None else head + metrics._repr_html_()

    @property
    def readings(self) -> list[Reading]:
        """Everything that was measured, in order."""
        return read_readings(RunFolder(self.path).record)


@dataclass(frozen=True)
class Given:
    """What was handed over in Python and cannot be written into a recipe: samples, a network, own hooks."""

    data: object = None
    model: nn.Module | None = None
    hooks: Sequence[object] = ()
