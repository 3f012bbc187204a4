"""How sure a number is: shares with their 95 % intervals."""

import math
from dataclasses import dataclass

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
