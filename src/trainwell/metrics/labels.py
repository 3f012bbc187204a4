"""All that is said about several labels, any of which may be true at once, on one split, with 95 % intervals.

Shares of samples have Wilson's interval, and so have precision, recall and F1 of a label (see `summary`); means over
labels and samples have the bootstrap's percentiles. Where no mistake was seen, which no resample can change, the far
end is Wilson's for as many samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.core.stats import UNDEFINED, Interval, bootstrap, mean_interval, percentile_interval, share
from trainwell.metrics.checking import Floats, checked_labels
from trainwell.metrics.ranking import area_interval, mean_area_interval, roc_auc
from trainwell.metrics.summary import ClassMetrics, f1_interval
from trainwell.metrics.words import percent, plain_number

Flags = NDArray[np.bool_]

THRESHOLD = 0.5
_HEAD = ("label", "samples", "precision", "recall", "F1", "ROC-AUC")


@dataclass(frozen=True, eq=False)
class LabelMetrics:
    """How good the labels are on one split.

    Attributes:
        count: N, samples.
        names: K labels.
        threshold: probability from which a label is taken for true.
        exact_match: share of samples with every label right.
        hamming_loss: share of all labels of all samples that are wrong.
        micro_f1: F1 over all labels of all samples together: frequent labels weigh more.
        macro_f1: mean F1 of the labels that occur, in the targets or in the answers.
        roc_auc: mean over the labels that are true of some samples and not of others.
        log_loss: mean binary cross-entropy over labels and samples, in nats.
        per_label: in the order of the names; `support` counts the samples of which a label is true.
    """

    count: int
    names: tuple[str, ...]
    threshold: float
    exact_match: Interval
    hamming_loss: Interval
    micro_f1: Interval
    macro_f1: Interval
    roc_auc: Interval
    log_loss: Interval
    per_label: tuple[ClassMetrics, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to read the numbers rightly; empty where there is nothing."""
        absent = [one.name for one in self.per_label if not one.support]
        if not absent:
            return ()
        return (f"no sample here has {', '.join(absent[:5])}{' and more' if len(absent) > 5 else ''}",)

    @property
    def totals(self) -> tuple[tuple[str, str], ...]:
        """The name and the words of each number of the whole split, the most asked for first."""
        return (
            ("exact match", percent(self.exact_match)),
            ("micro F1", percent(self.micro_f1)),
            ("macro F1", percent(self.macro_f1)),
            ("hamming loss", percent(self.hamming_loss)),
            ("ROC-AUC", plain_number(self.roc_auc)),
            ("log loss", f"{plain_number(self.log_loss)} nats"),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return all numbers for JSON, null where undefined."""
        totals = ("exact_match", "hamming_loss", "micro_f1", "macro_f1", "roc_auc", "log_loss")
        shares = ("precision", "recall", "f1", "roc_auc")
        return {
            "count": self.count,
            "threshold": self.threshold,
            **{name: getattr(self, name).to_plain() for name in totals},
            "labels": [
                {"name": one.name, "support": one.support, "predicted": one.predicted}
                | {name: getattr(one, name).to_plain() for name in shares}
                for one in self.per_label
            ],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        noun = "sample" if self.count == 1 else "samples"
        lines = [f"on {self.count:,} {noun} with {len(self.names):,} labels, with 95 % intervals"]
        lines += [f"{name:<18} {words}" for name, words in self.totals]
        lines += [f"note: {note}" for note in self.notes]
        rows = [_HEAD, *_rows(self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        lines.append("")
        for name, *cells in rows:
            ends = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([name.ljust(widths[0]), *ends]))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        totals = "".join(f'<tr><th scope="row">{name}</th><td>{words}</td></tr>' for name, words in self.totals)
        head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{words}</td>" for words in cells) + "</tr>"
            for name, *cells in _rows(self)
        )
        notes = "".join(f"<p>{escape(words)}</p>" for words in self.notes)
        caption = f"<caption>{self.count:,} samples, with 95 % intervals</caption>"
        return (
            f"<table>{caption}<tbody>{totals}</tbody></table>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
        )


def _rows(metrics: LabelMetrics) -> list[tuple[str, ...]]:
    def say(interval: Interval) -> str:
        return f"{100 * interval.value:.1f} %" if interval.is_defined else "-"

    return [
        (
            one.name,
            f"{one.support:,}",
            say(one.precision),
            say(one.recall),
            percent(one.f1) if one.f1.is_defined else "-",
            f"{one.roc_auc.value:.3f}" if one.roc_auc.is_defined else "-",
        )
        for one in metrics.per_label
    ]


def measure_labels(
    probabilities: ArrayLike,
    targets: ArrayLike,
    names: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> LabelMetrics:
    """Measure labels by their probabilities.

    The numbers are those of `sklearn.metrics` on (N, K) indicators; labels that neither occur nor are ever said are
    left out of macro F1.

    Args:
        probabilities: (N, K) floats in [0, 1].
        targets: (N, K), each 0 or 1.
        names: K labels.
        threshold: probability from which a label is taken for true.
        seed: of the resampling; the same seed gives the same intervals.

    Raises:
        ShapeError: the shapes do not fit.
        DataInvalid: a probability is not one, or a target neither 0 nor 1.

    >>> found = measure_labels([[0.9, 0.2], [0.6, 0.7]], [[1, 0], [0, 1]], ["sun", "rain"])
    >>> found.exact_match.value, found.hamming_loss.value, round(found.micro_f1.value, 3)
    (0.5, 0.25, 0.8)
    """
    floats, truths = checked_labels(probabilities, targets, len(names))
    said, is_true = floats >= threshold, truths == 1
    right, wrong = said & is_true, said != is_true
    count, size = truths.shape
    areas, influences = np.full(size, np.nan), np.zeros((count, size))
    for label in range(size):
        areas[label], influences[:, label] = roc_auc(floats[:, label], is_true[:, label])
    losses = _losses(floats, is_true)
    columns = np.concatenate([losses[:, None], wrong.mean(1)[:, None], right, wrong, influences], axis=1)
    means = bootstrap(columns, seed=seed)
    found_right, found_wrong, moves = (means[:, 2 + size * part : 2 + size * (part + 1)] for part in range(3))
    support = is_true.sum(0)
    pairs = np.minimum(support, count - support)
    by_label = [area_interval(*each) for each in zip(areas.tolist(), moves.T, pairs.tolist(), strict=True)]
    return LabelMetrics(
        count=count,
        names=tuple(names),
        threshold=threshold,
        exact_match=share(int((~wrong).all(1).sum()), count),
        hamming_loss=_hamming(float(wrong.mean()), means[:, 1], count),
        micro_f1=_micro_f1(right, wrong, found_right, found_wrong),
        macro_f1=_macro_f1(right, wrong, found_right, found_wrong, seed=seed),
        roc_auc=mean_area_interval(areas, moves, pairs, seed=seed),
        log_loss=percentile_interval(float(losses.mean()), means[:, 0]),
        per_label=tuple(
            _one(name, right[:, label], said[:, label], is_true[:, label], by_label[label])
            for label, name in enumerate(names)
        ),
    )


def _losses(floats: Floats, is_true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each sample's mean of -log of the probability of the truth, clipped as scikit-learn does."""
    tiny = float(np.finfo(floats.dtype).eps)
    clipped = np.clip(floats.astype(np.float64), tiny, 1 - tiny)
    losses: NDArray[np.float64] = -np.log(np.where(is_true, clipped, 1 - clipped)).mean(1)
    return losses


def _hamming(value: float, resampled: Floats, count: int) -> Interval:
    found = percentile_interval(value, resampled)
    return Interval(value, found.low, share(0, count).high) if value == 0 else found


def _f1(right: Any, wrong: Any) -> Any:
    """Return F1 = 2 TP / (2 TP + FP + FN); NaN where there is nothing."""
    with np.errstate(invalid="ignore"):
        return 2 * right / (2 * right + wrong)


def _micro_f1(right: Flags, wrong: Flags, found_right: Floats, found_wrong: Floats) -> Interval:
    value = float(_f1(np.float64(right.sum()), np.float64(wrong.sum())))
    if np.isnan(value):
        return UNDEFINED
    if not wrong.any():
        return f1_interval(len(right), len(right), len(right))
    resampled = _f1(found_right.sum(1), found_wrong.sum(1))
    return percentile_interval(value, resampled[~np.isnan(resampled)])


def _macro_f1(right: Flags, wrong: Flags, found_right: Floats, found_wrong: Floats, *, seed: int) -> Interval:
    of_right, of_wrong = right.sum(0).astype(np.float64), wrong.sum(0).astype(np.float64)
    occurs = of_right + of_wrong > 0
    if not occurs.any():
        return UNDEFINED
    values = _f1(of_right[occurs], of_wrong[occurs])
    each = _f1(found_right, found_wrong)
    counts = (~np.isnan(each)).sum(1)
    defined = np.nansum(each, axis=1)[counts > 0] / counts[counts > 0]
    return mean_interval(values, of_right[occurs] + of_wrong[occurs] / 2, defined, seed=seed)


def _one(name: str, right: Flags, said: Flags, is_true: Flags, area: Interval) -> ClassMetrics:
    hits, support, predicted = int(right.sum()), int(is_true.sum()), int(said.sum())
    return ClassMetrics(
        name=name,
        support=support,
        predicted=predicted,
        precision=share(hits, predicted) if predicted else UNDEFINED,
        recall=share(hits, support) if support else UNDEFINED,
        f1=f1_interval(hits, support, predicted),
        roc_auc=area,
    )
