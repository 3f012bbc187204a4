"""Class labels from whatever a user wrote them as: whole numbers, texts, truths or one-hot rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainwell.core.task import TaskName
from trainwell.data.samples import first_rows, natural_order
from trainwell.errors import DataInvalid


@dataclass(frozen=True)
class Labelled:
    """The targets of samples, and what was decided on the way, in words.

    Attributes:
        labels: (N,) int64 class ids, (N, M) float64 numbers, or (N, K) int64 labels of 0 and 1.
        classes: names of the classes, of the numbers or of the labels.
        notes: for the user.
        task: what they are; `reason`: why, where nobody said it.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    task: TaskName = "classes"
    reason: str = ""


def read_labels(values: Any, *, where: str, classes: tuple[str, ...] | None = None) -> Labelled:
    """Return class ids for labels of any sound form; nothing unsound is repaired.

    Whole numbers 0 to K-1 are class ids; other whole numbers that are not negative are renamed to
    0 to K-1 in order, which is said; texts become classes in natural order; an (N, K) array with a
    single 1 in each row is read as one-hot.

    Args:
        values: array of labels.
        where: what the labels are called in an error, such as `y of data.npz`.
        classes: class names where they are known.

    Raises:
        DataInvalid: labels are missing, negative, fractional, NaN, out of range or of no usable type.
    """
    array = np.asarray(values)
    notes: list[str] = []
    if array.ndim == 2:
        array = _flatten(array, where, notes)
    if array.ndim != 1:
        raise DataInvalid(f"{where} must be (N,), one label a sample, got shape {array.shape}")
    if array.dtype == object or array.dtype.kind in "US":
        return _from_texts(array, where, classes, notes)
    if array.dtype.kind == "b":
        return Labelled(array.astype(np.int64), classes or ("False", "True"), tuple(notes))
    if array.dtype.kind not in "iuf":
        raise DataInvalid(
            f"{where} must hold whole numbers or texts, got dtype {array.dtype}: give one class id a sample"
        )
    if array.dtype.kind == "f":
        array = _whole(array, where, notes)
    return _from_numbers(array, where, classes, notes)


def _flatten(array: np.ndarray, where: str, notes: list[str]) -> np.ndarray:
    if array.shape[1] == 1:
        notes.append(f"{where} has shape {array.shape}: its single column was read as the labels")
        return array[:, 0]
    is_one_hot = array.dtype.kind in "biuf" and bool(((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())
    if not is_one_hot:
        raise DataInvalid(
            f"{where} must be (N,) class ids or (N, K) one-hot rows with a single 1, got shape {array.shape} "
            "with other rows: give one class id a sample, or say task=labels where several may be true at once, and "
            "task=numbers to learn numbers"
        )
    notes.append(f"{where} is one-hot with {array.shape[1]} columns: column k was read as class k")
    return np.asarray(array.argmax(1))


def _from_texts(array: np.ndarray, where: str, classes: tuple[str, ...] | None, notes: list[str]) -> Labelled:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in array.tolist()]
    strange = [row for row, value in enumerate(texts) if not isinstance(value, str)]
    if strange:
        kind = type(texts[strange[0]]).__name__
        raise DataInvalid(
            f"{where} mixes texts with other things: row {strange[0]} is {texts[strange[0]]!r} ({kind}), "
            f"{len(strange)} of {len(texts)} rows are no text; give an array of whole numbers or of texts"
        )
    blank = [row for row, value in enumerate(texts) if not value.strip()]
    if blank:
        raise DataInvalid(
            f"{where} is empty in {len(blank)} rows (first: {first_rows(blank)}): name a class or remove them"
        )
    names = tuple(natural_order(texts)) if classes is None else classes
    places = {name: place for place, name in enumerate(names)}
    unknown = natural_order(text for text in texts if text not in places)
    if unknown:
        raise DataInvalid(f"{where} names classes that are not in the class list: {first_rows(unknown)}")
    return Labelled(np.array([places[text] for text in texts], dtype=np.int64), names, tuple(notes))


def _whole(array: np.ndarray, where: str, notes: list[str]) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataInvalid(
            f"{where} holds NaN or Inf in {len(bad)} of {len(array)} rows (first: {first_rows(bad.tolist())}): "
            "every sample needs a class; label or remove them"
        )
    broken = np.flatnonzero(array != np.floor(array))
    if len(broken):
        raise DataInvalid(
            f"{where} holds fractions in {len(broken)} of {len(array)} rows (first: row {broken[0]} is "
            f"{array[broken[0]]}): "
            "a class id is a whole number; say task=numbers to learn numbers"
        )
    notes.append(f"{where} holds whole numbers as {array.dtype}: read as class ids")
    return array.astype(np.int64)


def _from_numbers(array: np.ndarray, where: str, classes: tuple[str, ...] | None, notes: list[str]) -> Labelled:
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 2**63:
        raise DataInvalid(f"{where} must be class ids from 0, got {array.max()}")
    labels = array.astype(np.int64)
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        raise DataInvalid(
            f"{where} must be class ids from 0, got {len(negative)} negative ones (first: row {negative[0]} is "
            f"{labels[negative[0]]}): -1 often marks unlabelled samples; label or remove them"
        )
    if classes is not None:
        outside = np.flatnonzero(labels >= len(classes))
        if len(outside):
            raise DataInvalid(
                f"{where} must be class ids in [0, {len(classes)}), because {len(classes)} classes are named; got "
                f"{len(outside)} outside (first: row {outside[0]} is {labels[outside[0]]})"
            )
        return Labelled(labels, classes, tuple(notes))
    values, places = np.unique(labels, return_inverse=True)
    if len(values) and values[-1] != len(values) - 1:
        notes.append(
            f"{where} holds {len(values)} different whole numbers from {values[0]} to {values[-1]}: "
            "each is a class named by its number"
        )
    return Labelled(places.reshape(-1).astype(np.int64), tuple(str(value) for value in values.tolist()), tuple(notes))
