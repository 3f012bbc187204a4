"""All that is said about predicted numbers on one split: errors and explained variance, each with its 95 % interval.

Every interval has the bootstrap's percentiles: of each resample of the samples, the error and R² are computed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainwell.core.stats import UNDEFINED, Interval, bootstrap, percentile_interval
from trainwell.errors import DataInvalid, ShapeError
from trainwell.metrics.words import any_number

FEW_SAMPLES = 30
_HEAD = ("number", "RMSE", "MAE", "R²")


@dataclass(frozen=True)
class NumberMetric:
    """How well one number is predicted.

    Attributes:
        name: of the number.
        rmse: root of the mean squared error, in the unit of the number.
        mae: mean absolute error, in the unit of the number.
        r2: 1 minus the squared error over that of always saying the mean; undefined where all targets are alike.
        mean, deviation: of the targets, for comparison: always saying the mean has the deviation as its RMSE.
    """

    name: str
    rmse: Interval
    mae: Interval
    r2: Interval
    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class NumberMetrics:
    """How well numbers are predicted on one split.

    Attributes:
        count: N, samples.
        names: M names.
        r2: mean of the numbers' R²; of those that have one.
        per_number: in the order of the names.
    """

    count: int
    names: tuple[str, ...]
    r2: Interval
    per_number: tuple[NumberMetric, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to read the numbers rightly; empty where there is nothing."""
        notes = []
        if self.count < FEW_SAMPLES:
            notes.append(f"with {self.count} samples, the intervals are too narrow")
        same = [one.name for one in self.per_number if not one.r2.is_defined]
        if same:
            notes.append(f"R² of {', '.join(same)} is undefined, because all targets here are alike")
        return tuple(notes)

    def to_plain(self) -> dict[str, Any]:
        """Return all numbers for JSON, null where undefined."""
        return {
            "count": self.count,
            "r2": self.r2.to_plain(),
            "numbers": [
                {"name": one.name, "mean": one.mean, "deviation": one.deviation}
                | {name: getattr(one, name).to_plain() for name in ("rmse", "mae", "r2")}
                for one in self.per_number
            ],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows = [_HEAD, *_rows(self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        noun = "sample" if self.count == 1 else "samples"
        lines = [f"on {self.count:,} {noun}, with 95 % intervals"]
        lines += [f"R², mean of {len(self.names)} numbers  {rounded(self.r2)}"] if len(self.names) > 1 else []
        lines += [f"note: {note}" for note in self.notes]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, "", *table])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
        body = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            + "".join(f'<td style="text-align:right">{words}</td>' for words in cells)
            + "</tr>"
            for name, *cells in _rows(self)
        )
        notes = "".join(f"<p>{escape(words)}</p>" for words in self.notes)
        caption = f"<caption>{self.count:,} samples, with 95 % intervals</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def rounded(interval: Interval) -> str:
    """Say a number of any size with its interval.

    >>> rounded(Interval(12345.6, 12001.0, 13000.0)), rounded(UNDEFINED)
    ('12,346 (12,001 to 13,000)', 'undefined')
    """
    if not interval.is_defined:
        return "undefined"
    return f"{any_number(interval.value)} ({any_number(interval.low)} to {any_number(interval.high)})"


def _rows(metrics: NumberMetrics) -> list[tuple[str, ...]]:
    return [(one.name, rounded(one.rmse), rounded(one.mae), rounded(one.r2)) for one in metrics.per_number]


def measure_numbers(predicted: ArrayLike, targets: ArrayLike, names: Sequence[str], *, seed: int = 0) -> NumberMetrics:
    """Measure predicted numbers against the right ones.

    The numbers are those of `sklearn.metrics`: `root_mean_squared_error`, `mean_absolute_error` and `r2_score`.

    Args:
        predicted: (N, M), or (N,) where M is 1.
        targets: the same shape.
        names: M names.
        seed: of the resampling; the same seed gives the same intervals.

    Raises:
        ShapeError: the shapes do not fit.
        DataInvalid: a number is NaN or infinite.

    >>> found = measure_numbers([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0], ["price"])
    >>> found.per_number[0].rmse.value, found.per_number[0].mae.value, round(found.r2.value, 3)
    (0.5, 0.25, 0.886)
    """
    answers, truths = checked_numbers(predicted, targets, names)
    size = len(names)
    middle = truths.mean(0)
    errors, centred = answers - truths, truths - middle  # centred, so that squares of large numbers lose nothing
    columns = np.concatenate([errors**2, np.abs(errors), centred, centred**2], axis=1)
    resampled = bootstrap(columns, seed=seed)
    squares, absolutes, firsts, seconds = (resampled[:, size * part : size * (part + 1)] for part in range(4))
    variance = (centred**2).mean(0)
    r2 = np.full(size, np.nan)
    np.divide((errors**2).mean(0), variance, out=r2, where=truths.max(0) > truths.min(0))
    r2 = 1 - r2
    spread = seconds - firsts**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2_resampled = 1 - squares / np.where(spread > 0, spread, np.nan)  # (R, M)
    per_number = tuple(
        NumberMetric(
            name=name,
            rmse=percentile_interval(float(np.sqrt((errors[:, m] ** 2).mean())), np.sqrt(squares[:, m])),
            mae=percentile_interval(float(np.abs(errors[:, m]).mean()), absolutes[:, m]),
            r2=_interval(float(r2[m]), r2_resampled[:, m]),
            mean=float(middle[m]),
            deviation=float(np.sqrt(variance[m])),
        )
        for m, name in enumerate(names)
    )
    has_r2 = ~np.isnan(r2)
    total = _interval(float(r2[has_r2].mean()), r2_resampled[:, has_r2].mean(1)) if has_r2.any() else UNDEFINED
    return NumberMetrics(len(truths), tuple(names), total, per_number)


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    """Return the percentiles of the resamples in which a number is defined."""
    defined = resampled[~np.isnan(resampled)]
    return UNDEFINED if np.isnan(value) or not len(defined) else percentile_interval(value, defined)


def checked_numbers(
    predicted: ArrayLike, targets: ArrayLike, names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return predicted and right numbers as (N, M) float64.

    Raises:
        ShapeError: the shapes do not fit each other or the names.
        DataInvalid: a number is NaN or infinite.
    """
    answers, truths = (np.asarray(values, dtype=np.float64) for values in (predicted, targets))
    answers, truths = (values[:, None] if values.ndim == 1 else values for values in (answers, truths))
    if answers.ndim != 2 or not len(answers) or answers.shape[1] != len(names) or truths.shape != answers.shape:
        raise ShapeError(
            f"predicted numbers and targets must both be (N, {len(names)}), one column a name, got {answers.shape} and"
            f" {truths.shape}"
        )
    for values, what in ((answers, "predicted numbers"), (truths, "targets")):
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            raise DataInvalid(f"{what} must be finite, but row {bad[0]} holds NaN or Inf: look at this sample")
    return answers, truths
