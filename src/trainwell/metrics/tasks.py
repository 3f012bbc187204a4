"""The metrics of whatever task: classes, numbers or labels."""

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from trainwell.core.task import TaskName
from trainwell.metrics.labels import LabelMetrics, measure_labels
from trainwell.metrics.numbers import NumberMetrics, measure_numbers
from trainwell.metrics.summary import Metrics, measure

AnyMetrics = Metrics | NumberMetrics | LabelMetrics

_MEASURES: dict[TaskName, Callable[..., Any]] = {
    "classes": measure,
    "numbers": measure_numbers,
    "labels": measure_labels,
}


def measure_task(task: TaskName, answers: ArrayLike, targets: ArrayLike, names: Sequence[str]) -> AnyMetrics:
    """Measure the answers of a network by its task.

    Args:
        task: what was answered.
        answers: (N, K) probabilities of classes or of labels, or (N, M) numbers.
        targets: (N,) class ids, (N, M) numbers, or (N, K) labels.
        names: of the classes, the numbers or the labels.

    Raises:
        ShapeError, DataInvalid: see `measure`, `measure_numbers` and `measure_labels`.
    """
    found: AnyMetrics = _MEASURES[task](answers, targets, names)
    return found
