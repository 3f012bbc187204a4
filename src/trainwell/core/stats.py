"""How sure a number is: means, shares and paired differences with their 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054  # 97.5 % point of the standard normal distribution


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its 95 % interval.

    >>> print(Interval(0.5, 0.4, 0.6))
    0.5000 (0.4000 to 0.6000)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def share(hits: int, count: int) -> Interval:
    """Return hits/count with its Wilson interval, which is honest near 0 and 1.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> share(99, 100).high < 1
    True
    """
    if count == 0:
        return Interval(math.nan, 0.0, 1.0)
    p, z2 = hits / count, _Z * _Z
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def bootstrap_median_ratio(
    numerator: Sequence[float], denominator: Sequence[float], *, draws: int = 10_000
) -> Interval:
    """Return the median of pairwise ratios with its bootstrap interval over the pairs.

    The two sequences hold measurements made side by side, pair by pair.

    >>> bootstrap_median_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).value
    2.0
    """
    ratios = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    generator = np.random.default_rng(0)
    medians = np.median(ratios[generator.integers(0, len(ratios), (draws, len(ratios)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(ratios)), float(low), float(high))
