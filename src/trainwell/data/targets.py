"""What is to be answered for each sample: class ids, numbers or labels, told apart by what the targets hold.

Whole numbers and texts are classes, as far as they can be: fractions are numbers, and rows of zeros and ones with
none or several ones are labels. Whatever is decided carries its reason, and `task` decides it otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from trainwell.core.task import TaskName, TaskWish
from trainwell.data.labels import Labelled, read_labels
from trainwell.data.samples import first_rows
from trainwell.errors import DataInvalid

# Whole numbers of more different values than this, most of which occur once, are no classes: each class needs two
# samples at least, so such data could never be split.
MOST_SINGLE = 50
SLIPS = 0.25  # share of fractions among few whole numbers below which they may be slips of the pen in class ids
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each number over the train split: a network learns `(y - mean) / deviation`.

    >>> scaling = Scaling((10.0,), (2.0,))
    >>> scaling.standardized(np.array([[14.0]])).tolist(), scaling.restored(np.array([[2.0]])).tolist()
    ([[2.0]], [[14.0]])
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, numbers: np.ndarray, names: Sequence[str]) -> "Scaling":
        """Return the scaling of numbers (N, M), computed in float64; the deviation is that of all N, not N - 1.

        Raises:
            DataInvalid: a number is the same in all samples.
        """
        values = numbers.astype(np.float64)
        mean, deviation = values.mean(0), values.std(0)
        same = [name for name, low, high in zip(names, values.min(0), values.max(0), strict=True) if low == high]
        if same:
            raise DataInvalid(
                f"{first_rows(same)} is the same number in all {len(values)} training samples, so there is nothing to"
                " learn: check the column, or leave it out"
            )
        return cls(tuple(mean.tolist()), tuple(deviation.tolist()))

    def standardized(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers (N, M) on the scale of the network, float32."""
        values: np.ndarray = ((numbers - np.array(self.mean)) / np.array(self.deviation)).astype(np.float32)
        return values

    def restored(self, outputs: Tensor | np.ndarray) -> np.ndarray:
        """Return outputs (N, M) of the network on the scale of the user, float64."""
        values = np.asarray(outputs.detach().cpu() if isinstance(outputs, Tensor) else outputs, dtype=np.float64)
        numbers: np.ndarray = values * np.array(self.deviation) + np.array(self.mean)
        return numbers


def read_targets(values: Any, *, where: str, task: TaskWish = "auto", names: Sequence[str] | None = None) -> Labelled:
    """Return the targets of samples in the form of their task; nothing unsound is repaired.

    Args:
        values: array of targets.
        where: what they are called in an error, such as `y of data.npz`.
        task: what they are; `auto` decides by what they hold, see `choose_task`.
        names: of the classes, or of the columns where the targets have several.

    Raises:
        DataInvalid: a target is missing, not finite, or not of the task's kind.
    """
    reason = ""
    if task == "auto":
        task, reason = choose_task(values, where=where)
    if task == "classes":
        known = read_labels(values, where=where, classes=None if names is None else tuple(names))
        return Labelled(known.labels, known.classes, known.notes, "classes", reason)
    read = _read_numbers if task == "numbers" else _read_yes_and_no
    array = read(_columns(values, where, task), where)
    return Labelled(array, _names(array.shape[1], names, where), (), task, reason)


def choose_task(values: Any, *, where: str) -> tuple[TaskName, str]:
    """Return what targets are, and why; classes are also what will be refused, because it can be read in two ways.

    >>> choose_task(np.array([0.5, 1.25]), where="y")
    ('numbers', 'y holds fractions, such as 0.5, which are no class ids')
    >>> choose_task(np.array([[1, 1], [0, 1]]), where="y")[0], choose_task(np.array([[1, 0], [0, 1]]), where="y")[0]
    ('labels', 'classes')
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        return "classes", f"{where} holds names"
    if array.ndim == 1:
        return _choose_for_one(array, where)
    if ((array == 0) | (array == 1)).all():
        ones = array.sum(1)
        if (ones == 1).all():
            return "classes", f"each row of {where} has a single 1"
        return "labels", f"{where} has rows of zeros and ones with {'none' if (ones == 0).any() else 'several'} true"
    sums = array.sum(1, dtype=np.float64)
    if array.dtype.kind == "f" and (array >= 0).all() and np.abs(sums - 1).max() <= SUM_TOLERANCE:
        return "classes", f"each row of {where} sums to 1, like soft labels"  # which will be refused, with a cure
    return "numbers", f"{where} has {array.shape[1]} columns of numbers that are not only 0 and 1"


def _choose_for_one(array: np.ndarray, where: str) -> tuple[TaskName, str]:
    finite = array[np.isfinite(array)]
    broken = finite[finite != np.floor(finite)] if array.dtype.kind == "f" else finite[:0]
    whole = finite[finite == np.floor(finite)]
    if len(broken) and len(broken) < SLIPS * len(array) and len(np.unique(whole)) <= MOST_SINGLE:
        return "classes", f"{where} holds whole numbers, but for {len(broken)}"  # which will be refused, with a cure
    if len(broken):
        return "numbers", f"{where} holds fractions, such as {float(broken[0])!r}, which are no class ids"
    counts = np.unique(finite, return_counts=True)[1]
    single = int((counts == 1).sum())
    if len(counts) > MOST_SINGLE and 2 * single > len(counts):
        words = f"{where} holds {len(counts)} different whole numbers, {single} of them once: too many for classes"
        return "numbers", words
    return "classes", f"{where} holds whole numbers"


def _columns(values: Any, where: str, task: TaskName) -> np.ndarray:
    """Return targets as (N, M) of some number type."""
    array = np.asarray(values)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        kind = f"shape {array.shape}" if array.ndim != 2 else f"dtype {array.dtype}"
        raise DataInvalid(f"{where} must be (N,) or (N, M) numbers for task={task}, got {kind}")
    return array


def _read_numbers(array: np.ndarray, where: str) -> np.ndarray:
    values = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise DataInvalid(
            f"{where} holds NaN or Inf in {len(bad)} of {len(values)} rows (first: {first_rows(bad.tolist())}):"
            " every sample needs its number; fill or remove them"
        )
    return values


def _read_yes_and_no(array: np.ndarray, where: str) -> np.ndarray:
    other = np.flatnonzero(~((array == 0) | (array == 1)).all(1))
    if len(other):
        raise DataInvalid(
            f"{where} must hold 0 or 1 for each label, got {array[other[0]].tolist()} in row {other[0]}, and"
            f" {len(other)} such rows in all: write 1 where the label is true, else 0"
        )
    return array.astype(np.int64)


def _names(count: int, names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    if names is None:
        return ("y",) if count == 1 else tuple(str(column) for column in range(count))
    if len(names) != count:
        raise DataInvalid(f"{where} has {count} columns and {len(names)} names: give one name a column")
    return tuple(names)
