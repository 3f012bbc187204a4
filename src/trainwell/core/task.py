"""What a network learns to answer: one of several classes, numbers, or any of several labels.

The task says what targets look like, what an output of the network means, which loss is the sound default, and which
score is reported beside the loss. Nothing else of a run depends on it by name.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from trainwell.core.record import Measure

TaskName = Literal["classes", "numbers", "labels"]
TaskWish = Literal["auto", "classes", "numbers", "labels"]


@dataclass(frozen=True)
class Score:
    """The one number beside the loss that says how good a network is; higher is better, and 1 is perfect.

    Attributes:
        key: the last part of its readings' names, such as `val/accuracy`.
        title: what people call it.
        unit: of the readings.
        words: its definition; `{of}` stands for the samples that it is about.
        is_share: whether it is a share of samples, which has a closed interval and is shown in percent.
    """

    key: str
    title: str
    unit: str
    words: str
    is_share: bool

    def measure(self, name: str, of: str) -> Measure:
        """Return what a reading of the score means.

        >>> TASKS["classes"].score.measure("val/accuracy", "the val split").definition
        'share of the val split scored highest at their class'
        """
        return Measure(name, self.unit, self.words.format(of=of))


@dataclass(frozen=True)
class Task:
    """What a network learns to answer.

    Attributes:
        name: in a recipe and on the command line.
        output: what one output of the network is called.
        targets: what the targets of samples are, in words.
        loss: the sound default on the shelf of losses.
        score: what is reported beside the loss.
        is_stratified: whether splits hold the same share of each target.
    """

    name: TaskName
    output: str
    targets: str
    loss: str
    score: Score
    is_stratified: bool

    def takes(self, tasks: Collection[str] | None) -> bool:
        """Whether a loss whose card names these tasks is meant for this one; a card that names none leaves it open.

        >>> TASKS["numbers"].takes(("classes",)), TASKS["numbers"].takes(None)
        (False, True)
        """
        return tasks is None or self.name in tasks


TASKS: dict[TaskName, Task] = {
    "classes": Task(
        name="classes",
        output="class",
        targets="(N,) class ids",
        loss="cross_entropy",
        score=Score("accuracy", "accuracy", "share of 1", "share of {of} scored highest at their class", is_share=True),
        is_stratified=True,
    ),
    "numbers": Task(
        name="numbers",
        output="number",
        targets="(N, M) numbers, standardized on the train split",
        loss="squared_error",
        score=Score(
            "r2",
            "R²",
            "share of 1",
            "1 minus the squared error over the variance of {of}, mean over the numbers; 0 is always saying the mean",
            is_share=False,
        ),
        is_stratified=False,
    ),
    "labels": Task(
        name="labels",
        output="label",
        targets="(N, K) labels, each 0 or 1",
        loss="binary_cross_entropy",
        score=Score(
            "exact_match",
            "exact match",
            "share of 1",
            "share of {of} with every label right, each being true from a probability of 1/2",
            is_share=True,
        ),
        is_stratified=False,
    ),
}
