"""All that is said about a classifier on one split: each number with its 95 % interval.

Three kinds of interval. Shares of samples (accuracy, top-k, precision, recall) have Wilson's, and so has F1,
which is a function of one: resampling says 100 % to 100 % where 30 of 30 are right. Log loss and means over
classes have the bootstrap's percentiles, the means with one unseen sample more (see `mean_interval`); the
calibration error, which noise only ever raises, has the mirrored ones; the area under the ROC curve is
resampled to first order, on the logit scale, which keeps it inside (0, 1). Log loss and calibration error are
made by the mistakes, and no resample holds a mistake that was not seen: with few of them, their intervals are
too narrow, which `Metrics.notes` says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.core.stats import (
    UNDEFINED,
    Interval,
    bootstrap,
    bootstrap_counts,
    mean_interval,
    percentile_interval,
    reversed_interval,
    share,
)
from trainwell.errors import ShapeError
from trainwell.metrics.calibration import BINS, Calibration, bins_of, calibration
from trainwell.metrics.checking import Floats, Integers, checked
from trainwell.metrics.ranking import area_interval, mean_area_interval, roc_auc
from trainwell.metrics.words import as_html, as_text

TOP_K = (3, 5)
FEW_MISTAKES = 10  # simulated, 300 sets each: with 9 mistakes 91 % of log loss's intervals hold the truth, with 1 half


@dataclass(frozen=True)
class ClassMetrics:
    """How good a classifier is on one class.

    Attributes:
        name: of the class.
        support: samples that are of the class.
        predicted: samples that were said to be.
        precision: share of the predicted that are right; undefined where none is predicted.
        recall: share of the class that was found; undefined where no sample is of the class.
        f1: 2 TP / (2 TP + FP + FN); undefined only where both others are.
        roc_auc: of the class's probability against all others; undefined without samples in and outside the class.
    """

    name: str
    support: int
    predicted: int
    precision: Interval
    recall: Interval
    f1: Interval
    roc_auc: Interval


@dataclass(frozen=True, eq=False)
class Metrics:
    """How good a classifier is on one split.

    Attributes:
        count: N, samples.
        classes: K names.
        accuracy: share of samples whose highest probability is at their class; the first class wins a tie.
        balanced_accuracy: mean recall of the classes that have samples.
        macro_f1: mean F1 of the classes that occur, in the targets or in the predictions.
        top_k: for each k below K, the share of samples whose class is among the k most probable; in a tie
            the later class goes first.
        log_loss: mean of -log p(class) in nats, with p kept as far from 0 and 1 as the type can tell 1 from
            its neighbour (1.2e-7 for float32), so that one sure mistake does not make it infinite.
        calibration_error: see `Calibration`, which also holds what chance alone would show.
        roc_auc: of the second class where there are two; else the mean over the classes, each against all
            others, that have samples in and outside.
        per_class: in the order of the classes.
        confusion: (K, K) samples by class (row) and prediction (column).
        calibration: confidence against accuracy, by bins.
    """

    count: int
    classes: tuple[str, ...]
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    top_k: Mapping[int, Interval]
    log_loss: Interval
    calibration_error: Interval
    roc_auc: Interval
    per_class: tuple[ClassMetrics, ...]
    confusion: Integers
    calibration: Calibration

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to read the numbers rightly; empty where there is nothing."""
        notes = []
        mistakes = self.count - int(np.trace(self.confusion))
        if mistakes < FEW_MISTAKES:
            noun = "1 mistake" if mistakes == 1 else f"{mistakes or 'no'} mistakes"
            notes.append(f"with {noun} among {self.count:,}, log loss and calibration error are less sure than shown")
        absent = [one.name for one in self.per_class if not one.support]
        if absent:
            noun = "1 class has" if len(absent) == 1 else f"{len(absent):,} classes have"
            notes.append(f"{noun} no sample here: balanced accuracy and ROC-AUC are means over the others")
        return tuple(notes)

    def to_plain(self) -> dict[str, Any]:
        """Return all numbers for JSON, null where undefined."""
        totals = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error", "roc_auc")
        shares = ("precision", "recall", "f1", "roc_auc")
        bins = self.calibration
        return {
            "count": self.count,
            **{name: getattr(self, name).to_plain() for name in totals},
            "top_k": {str(k): interval.to_plain() for k, interval in self.top_k.items()},
            "classes": [
                {"name": one.name, "support": one.support, "predicted": one.predicted}
                | {name: getattr(one, name).to_plain() for name in shares}
                for one in self.per_class
            ],
            "confusion": self.confusion.tolist(),
            "calibration": {
                "edges": bins.edges.tolist(),
                "count": bins.count.tolist(),
                "confidence": _without_nan(bins.confidence),
                "accuracy": _without_nan(bins.accuracy),
                "error_by_chance": bins.error_by_chance,
            },
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def _without_nan(numbers: Floats) -> list[float | None]:
    return [None if np.isnan(number) else float(number) for number in numbers]


def measure(probabilities: ArrayLike, targets: ArrayLike, classes: Sequence[str], *, seed: int = 0) -> Metrics:
    """Measure a classifier by its probabilities on labelled samples.

    The numbers are those of `sklearn.metrics`; the module says which interval each has.

    Args:
        probabilities: (N, K) floats, rows that sum to 1 within 0.001; they are not scaled to do so exactly.
        targets: (N,) class ids in [0, K).
        classes: K names.
        seed: of the resampling; the same seed gives the same intervals.

    Raises:
        ShapeError: probabilities is not (N, K), targets not (N,), or classes not K names.
        DataInvalid: a row of probabilities is not finite, has a negative number or does not sum to 1, or a
            target is no class id.

    >>> found = measure([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]], [0, 1, 1, 1], ["cat", "dog"])
    >>> found.accuracy
    Interval(value=0.75, low=0.300..., high=0.954...)
    >>> found.confusion.tolist()
    [[1, 0], [1, 2]]
    """
    floats, ids = checked(probabilities, targets)
    count, size = floats.shape
    if len(classes) != size:
        raise ShapeError(
            f"classes must be K = {size} names, one for each column of the probabilities, got {len(classes)}"
        )
    predictions = floats.argmax(axis=1)
    confusion = np.bincount(ids * size + predictions, minlength=size * size).reshape(size, size)
    accuracy = share(int(np.trace(confusion)), count)
    losses, bins = _losses(floats, ids), calibration(floats, ids)
    columns = np.zeros((count, 1 + BINS + size), dtype=np.float32)
    columns[:, 0] = losses
    _fill_gaps(columns[:, 1 : 1 + BINS], floats, ids)
    areas = _fill_influences(columns[:, 1 + BINS :], floats, ids)
    means = bootstrap(columns, seed=seed).astype(np.float64)
    support = confusion.sum(axis=1)
    pairs = np.minimum(support, count - support)  # of one sample inside and one outside a class, none used twice
    by_class = [
        area_interval(*each) for each in zip(areas.tolist(), means[:, 1 + BINS :].T, pairs.tolist(), strict=True)
    ]
    return Metrics(
        count=count,
        classes=tuple(classes),
        accuracy=accuracy,
        **_class_means(confusion, seed=seed),
        top_k=_top_k(floats, ids),
        log_loss=percentile_interval(float(losses.mean()), means[:, 0]),
        calibration_error=_within_one(reversed_interval(bins.error, np.abs(means[:, 1 : 1 + BINS]).sum(axis=1))),
        roc_auc=by_class[1] if size == 2 else mean_area_interval(areas, means[:, 1 + BINS :], pairs, seed=seed),
        per_class=_per_class(confusion, classes, by_class),
        confusion=confusion,
        calibration=bins,
    )


def _losses(floats: Floats, ids: Integers) -> NDArray[np.float64]:
    """Return -log of each sample's probability of its class, clipped as scikit-learn does."""
    tiny = float(np.finfo(floats.dtype).eps)
    own = floats[np.arange(len(ids)), ids].astype(np.float64)
    return -np.log(np.clip(own, tiny, 1 - tiny))


def _fill_gaps(gaps: Floats, floats: Floats, ids: Integers) -> None:
    """Write into zeros (N, bins) right minus confidence at the sample's bin.

    The calibration error of any resample is the sum of the absolute column means.
    """
    confidences = floats.max(axis=1).astype(np.float64)
    gaps[np.arange(len(ids)), bins_of(confidences)] = (floats.argmax(axis=1) == ids) - confidences


def _within_one(interval: Interval) -> Interval:
    return Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high))


def _top_k(floats: Floats, ids: Integers) -> dict[int, Interval]:
    own = floats[np.arange(len(ids)), ids][:, None]
    later = np.arange(floats.shape[1]) > ids[:, None]
    rank = ((floats > own) | ((floats == own) & later)).sum(axis=1)
    return {k: share(int((rank < k).sum()), len(ids)) for k in TOP_K if k < floats.shape[1]}


def _class_means(confusion: Integers, *, seed: int) -> dict[str, Interval]:
    """Return balanced accuracy and macro F1, with intervals from resampling the confusion's cells."""
    rows, columns = np.nonzero(confusion)
    cells, size = confusion[rows, columns], len(confusion)
    is_right = rows == columns

    def shares(counts: Integers) -> tuple[tuple[NDArray[Any], NDArray[Any]], ...]:
        """Return recall and F1 of the classes that have one, each with the samples it stands on."""
        support = np.bincount(rows, weights=counts, minlength=size)
        both = (support + np.bincount(columns, weights=counts, minlength=size)) / 2
        right = np.bincount(rows, weights=counts * is_right, minlength=size)
        has_recall, has_f1 = support > 0, both > 0
        recall, f1 = right[has_recall] / support[has_recall], right[has_f1] / both[has_f1]
        return (recall, support[has_recall]), (f1, both[has_f1])

    resampled = [shares(counts) for counts in bootstrap_counts(cells, seed=seed)]
    found = {}
    for place, (name, (values, sizes)) in enumerate(zip(("balanced_accuracy", "macro_f1"), shares(cells), strict=True)):
        means = np.array([each[place][0].mean() for each in resampled])
        found[name] = mean_interval(values, sizes, means, seed=seed)
    return found


def _per_class(confusion: Integers, classes: Sequence[str], areas: Sequence[Interval]) -> tuple[ClassMetrics, ...]:
    found = []
    for label, name in enumerate(classes):
        right = int(confusion[label, label])
        support, predicted = int(confusion[label].sum()), int(confusion[:, label].sum())
        found.append(
            ClassMetrics(
                name=name,
                support=support,
                predicted=predicted,
                precision=share(right, predicted) if predicted else UNDEFINED,
                recall=share(right, support) if support else UNDEFINED,
                f1=f1_interval(right, support, predicted),
                roc_auc=areas[label],
            )
        )
    return tuple(found)


def f1_interval(right: int, support: int, predicted: int) -> Interval:
    """Return F1 with the interval that Wilson's gives to the share J = TP / (TP + FP + FN), since F1 = 2 J / (1 + J).

    Source: Lam et al. 2023, arXiv:2309.14621, the Wilson indirect method.

    >>> print(f1_interval(30, 30, 30))
    1.0000 (0.9398 to 1.0000)
    """
    if not support + predicted:
        return UNDEFINED
    ends = share(right, support + predicted - right)
    return Interval(2 * right / (support + predicted), 2 * ends.low / (1 + ends.low), 2 * ends.high / (1 + ends.high))


def _fill_influences(influences: Floats, floats: Floats, ids: Integers) -> NDArray[np.float64]:
    """Write each sample's influence (N, K) on each class's area under the ROC curve, and return the areas (K,)."""
    areas = np.full(floats.shape[1], np.nan)
    for label in range(floats.shape[1]):
        areas[label], influences[:, label] = roc_auc(floats[:, label], ids == label)
    return areas
