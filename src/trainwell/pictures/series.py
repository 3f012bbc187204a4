"""Readings as lines: one name at one place over the steps, smoothed for the eye, and thin enough to draw."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.record import Reading

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

MOST_POINTS = 2_000


@dataclass(frozen=True, eq=False)
class Series:
    """One measured number over the steps.

    Attributes:
        steps: (T,) int64, rising.
        values: (T,) float64, all finite.
        left_out: how many values were not finite.
    """

    steps: Integers
    values: Floats
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.steps)


History = Mapping[str, Mapping[str, Series]]


def history(readings: Iterable[Reading]) -> dict[str, dict[str, Series]]:
    """Return the readings by name and then by place, each a series; the place of a whole network is empty.

    >>> history([Reading(0, "lr", 0.1), Reading(1, "lr", float("nan"))])["lr"][""].left_out
    1
    """
    found: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for reading in readings:
        steps, values = found.setdefault(reading.name, {}).setdefault(reading.where, ([], []))
        steps.append(reading.step)
        values.append(reading.value)
    return {name: {where: _series(*lists) for where, lists in places.items()} for name, places in found.items()}


def _series(steps: list[int], values: list[float]) -> Series:
    numbers = np.array(values, dtype=np.float64)
    finite = np.isfinite(numbers)
    return Series(np.array(steps, dtype=np.int64)[finite], numbers[finite], int((~finite).sum()))


def thin(series: Series, most: int = MOST_POINTS) -> Series:
    """Return at most `most` points: the lowest and the highest of each stretch, so that no peak is lost.

    >>> len(thin(Series(np.arange(9_999), np.arange(9_999.0)), most=100))
    100
    """
    if len(series) <= most:
        return series
    ends = np.linspace(0, len(series), most // 2 + 1).astype(int)
    kept: set[int] = set()
    for start, end in itertools.pairwise(ends):
        stretch = series.values[start:end]
        kept |= {int(start + stretch.argmin()), int(start + stretch.argmax())}
    where = np.array(sorted(kept))
    return Series(series.steps[where], series.values[where], series.left_out)


def window_of(series: Series) -> int:
    """Return over how many steps a line of every step is averaged: a fortieth of it, at least 5, and an odd number."""
    return max(5, len(series) // 40) | 1


def smooth(series: Series, window: int) -> Series:
    """Return the mean of the `window` values around each one; near the two ends of as many as lie on both sides.

    >>> smooth(Series(np.arange(3), np.array([0.0, 3.0, 6.0])), 3).values.tolist()
    [0.0, 3.0, 6.0]
    """
    count, place = len(series), np.arange(len(series))
    half = np.minimum(window // 2, np.minimum(place, count - 1 - place))  # lopsided means would bend the ends
    sums = np.concatenate(([0.0], np.cumsum(series.values)))
    low, high = place - half, place + half + 1
    return Series(series.steps, (sums[high] - sums[low]) / (high - low), series.left_out)
