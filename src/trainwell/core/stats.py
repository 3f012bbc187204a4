"""How sure a number is: shares in closed form and everything else by resampling, with 95 % intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

RESAMPLES = 1_000  # the ends of an interval then move by about 2 % of its width from seed to seed
_Z = 1.959963984540054  # 97.5 % point of the standard normal distribution
_ENDS = (0.025, 0.975)
_DRAWS_AT_ONCE = 4_000_000  # weights in memory at a time


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its 95 % interval; all three are NaN where it is undefined.

    >>> print(Interval(0.5, 0.4, 0.6))
    0.5000 (0.4000 to 0.6000)
    >>> print(UNDEFINED)
    undefined
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})" if self.is_defined else "undefined"

    @property
    def is_defined(self) -> bool:
        """Whether there was anything to estimate it from."""
        return not math.isnan(self.value)

    def to_plain(self) -> dict[str, float | None]:
        """Return value, low and high for JSON, which has no NaN: null in its place.

        >>> UNDEFINED.to_plain()
        {'value': None, 'low': None, 'high': None}
        """
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if math.isnan(number) else number for name, number in ends.items()}


UNDEFINED = Interval(math.nan, math.nan, math.nan)


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


def student_interval(values: Floats) -> Interval:
    """Return the mean of independent runs with Student's 95 % interval; infinite ends for a single run.

    Args:
        values: (n,) one number a run. Paired arms are compared by handing over their differences.

    Source: Student 1908, "The probable error of a mean".

    >>> print(student_interval(np.array([1.0, 2.0, 3.0])))
    2.0000 (-0.4841 to 4.4841)
    """
    from scipy.special import stdtrit  # a tenth of a second, which those who only measure are spared

    count, value = len(values), float(np.mean(values)) if len(values) else math.nan
    if count < 2:
        return Interval(value, -math.inf, math.inf) if count else UNDEFINED
    half = float(stdtrit(count - 1, _ENDS[1])) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(value, value - half, value + half)


def bootstrap(values: Floats, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the column means of `values` in each of many resamples of its rows.

    A resample draws N rows with replacement, the same rows for every column, so any function of the
    columns' means can be followed through the resamples. Memory does not grow with N x resamples.

    Args:
        values: (N, M) floats, one row a sample.
        seed: the same seed gives the same resamples.
        resamples: how many, R.

    Returns:
        (R, M) means in the type of `values`.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".

    >>> bootstrap(np.ones((4, 2)), seed=0, resamples=3).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    count, generator = len(values), np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]), dtype=values.dtype)
    at_once = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, resamples, at_once):
        chunk = means[start : start + at_once]
        weights = np.empty((len(chunk), count), dtype=values.dtype)
        for row in weights:
            row[:] = np.bincount(generator.integers(count, size=count), minlength=count)
        chunk[:] = weights @ values / count
    return means


def bootstrap_counts(counts: Integers, *, seed: int, resamples: int = RESAMPLES) -> Iterator[Integers]:
    """Yield resamples of counted samples: each has as many samples, spread anew over the same kinds.

    It is `bootstrap` for samples that differ only in their kind, at a cost that does not grow with them.

    Args:
        counts: (M,) how many samples are of each kind; not all zero.
        seed: the same seed gives the same resamples.
        resamples: how many.

    >>> [int(drawn.sum()) for drawn in bootstrap_counts(np.array([3, 0, 7]), seed=0, resamples=2)]
    [10, 10]
    """
    count, generator = int(counts.sum()), np.random.default_rng(seed)
    chances = counts / count
    for _ in range(resamples):
        yield generator.multinomial(count, chances)


def percentile_interval(value: float, resampled: Floats) -> Interval:
    """Return the middle 95 % of the resampled values around `value`, which the interval always holds.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.

    >>> percentile_interval(0.5, np.linspace(0, 1, 1001))
    Interval(value=0.5, low=0.025, high=0.975)
    """
    low, high = np.quantile(resampled, _ENDS)
    return Interval(value, min(value, float(low)), max(value, float(high)))


def reversed_interval(value: float, resampled: Floats) -> Interval:
    """Return the middle 95 % mirrored at `value`, for a number that resampling pushes to one side.

    Sums of absolute deviations grow by noise. A resample is as much too large against the sample as the
    sample is against the truth, so the truth is sought on the other side.

    Source: Davison and Hinkley 1997, "Bootstrap methods and their application", section 2.4, the basic interval.

    >>> reversed_interval(0.5, np.array([0.6, 0.6]))
    Interval(value=0.5, low=0.4, high=0.5)
    """
    low, high = np.quantile(resampled, _ENDS)
    return Interval(value, min(value, 2 * value - float(high)), max(value, 2 * value - float(low)))


def mean_interval(shares: Floats, sizes: Floats, resampled: Floats, *, seed: int) -> Interval:
    """Return the mean of several shares with its interval, from resamples of the mean.

    A share of 1 stays 1 in every resample, however few samples it stands on, so percentiles alone would take it
    for sure. The low end therefore reckons with one failure that was not seen, at the share where it lowers the
    mean most; the high end with one such success. Either is of a random size, as it is in the exact interval
    of one share: (1 - U^(1/n)) of a share that stands on n samples, U uniform. The resamples are moved to have
    the mean as their own mean: F1 falls a little by resampling alone, and many classes make that add up.

    Args:
        shares: (K,) in [0, 1].
        sizes: (K,) samples that each stands on; infinite for one to be left out of the reckoning.
        resampled: (R,) the mean in each resample.
        seed: the same seed gives the same interval.

    Source: Fay and Feuer 1997, "Confidence intervals for directly standardized rates", whose upper limit adds one
    unseen event at the largest weight; for a single share it is Clopper and Pearson 1934.

    >>> found = mean_interval(np.ones(2), np.array([500, 10]), np.ones(1000), seed=0)
    >>> round(found.low, 2), found.value, found.high
    (0.85, 1.0, 1.0)
    """
    spread = (np.arange(len(resampled)) + 0.5) / len(resampled)  # evenly, so that U itself adds no noise
    chances = np.random.default_rng((seed, 1)).permutation(spread)  # another stream than that of the resamples

    def unseen(movable: Floats) -> Floats:
        place = int(np.argmax(movable / sizes))
        moved: Floats = movable[place] * (1 - chances ** (1 / sizes[place])) / len(shares)
        return moved

    value = float(np.mean(shares))
    resampled = resampled - resampled.mean() + value
    low = np.quantile(resampled - unseen(shares), _ENDS[0])
    high = np.quantile(resampled + unseen(1 - shares), _ENDS[1])
    return Interval(value, max(0.0, min(value, float(low))), min(1.0, max(value, float(high))))
