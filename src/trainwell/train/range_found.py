"""What a range test says: which rates are too low, good and too high, why, and one that is suggested, or none.

The losses of the fine sweeps, each cut at three times the first loss, are averaged at each rate, a sweep that has
exploded counting as cut; then over neighbouring rates with a bell of an eighth of a decade. The bell is centred, so
the curve does not lag behind as a running mean does, and its weights sum to one at the ends too.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.rates import range_curve
from trainwell.train.range_test import EXPLODED, Sweep

Floats = NDArray[np.float64]

BELL = 0.125  # decades, standard deviation
FIRST_STEPS = 12  # of the coarse sweep: two decades of rates too low to do anything, which show the loss and its noise
# Where good ends: the loss has risen by a tenth of its fall; where it begins: half of the fall is done. Suggested is a
# third of the geometric mean of the rate at the deepest loss and the end of the good ones, and at least one and a half
# times their beginning. Set on the tuned cases of bench/lr_find.py: dividers of 2.5 and 4 do about as well, those of 2
# and less worse for Adam, and without the floor convolutional networks get too little.
RISE, HALF, DIVIDER, FLOOR = 0.1, 0.5, 3.0, 1.5
LEAST_FALL, LEAST_NOISES = 0.02, 4.0  # of the first loss, and standard deviations of the smoothed one: less is no fall
LEAST_RUN = 20  # steps: a sweep says nothing about a shorter run


@dataclass(frozen=True)
class FoundRate:
    """The answer of a range test.

    Attributes:
        good: lowest and highest good rate, or None where the curve gives no answer.
        suggestion: a rate to train with, inside `good`, or None.
        reason: why these, or why none, in words.
        ends: why each sweep ended, where it did.
        optimizer, schedule: for which it holds, as one writes them.
        unit: of the loss; `first_loss`: before anything was learned.
        rates: (R,) of the fine sweeps; `smoothed`: (R,) the curve that was judged; `losses`: of each sweep.
    """

    good: tuple[float, float] | None
    suggestion: float | None
    reason: str
    ends: tuple[str, ...]
    optimizer: str
    schedule: str
    unit: str
    first_loss: float
    rates: tuple[float, ...]
    smoothed: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def zones(self) -> dict[str, tuple[float, float]]:
        """Which rates are too low, good and too high; empty where there is no answer."""
        if self.good is None:
            return {}
        low, high = self.good
        return {"too low": (self.rates[0], low), "good": self.good, "too high": (high, self.rates[-1])}

    def picture(self) -> go.Figure:
        """Return the figure of the test."""
        return range_curve(
            self.rates, self.losses, self.smoothed, zones=self.zones, suggestion=self.suggestion, unit=self.unit
        )

    def to_plain(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "zones": self.zones}


def judge(sweeps: Sequence[Sweep], *, optimizer: str, schedule: str, unit: str = "nats", total_steps: int) -> FoundRate:
    """Return what sweeps say about the rates of a run.

    Args:
        sweeps: the coarse one, then the fine ones, which share their rates.
        optimizer, schedule: for which it holds, as one writes them.
        unit: of the loss.
        total_steps: of the run.
    """
    coarse, *fine = sweeps
    ends = tuple(dict.fromkeys(sweep.end for sweep in sweeps if sweep.end))
    first = np.asarray(coarse.losses[:FIRST_STEPS], dtype=np.float64)
    start = float(first.mean()) if len(first) else math.nan
    noise = float(first.std(ddof=1)) if len(first) > 1 else math.inf
    rates = np.asarray(fine[0].rates, dtype=np.float64)[: max(max(len(sweep.losses) for sweep in fine), 1)]
    smoothed, shrunk = smooth(rates, [sweep.losses for sweep in fine], most=EXPLODED * start)
    best = float(rates[smoothed.argmin()])
    good, reason = _good(rates, smoothed, start, noise * shrunk, coarse)
    if len(first) < FIRST_STEPS:
        good, reason = (
            None,
            f"training explodes at once: {coarse.end}; look at the data, the loss and the first weights",
        )
    elif total_steps < LEAST_RUN:
        words = f"the run has {total_steps} steps, fewer than {LEAST_RUN}"
        good, reason = None, f"{words}: train longer or take smaller batches, for a sweep says nothing about so few"
    return FoundRate(
        good=good,
        suggestion=None if good is None else suggested(best, good),
        reason=reason,
        ends=ends,
        optimizer=optimizer,
        schedule=schedule,
        unit=unit,
        first_loss=start,
        rates=tuple(rates.tolist()),
        smoothed=tuple(smoothed.tolist()),
        losses=tuple(sweep.losses for sweep in fine),
    )


def suggested(best: float, good: tuple[float, float]) -> float:
    """Return the rate to train with, to two digits: see `DIVIDER`; never outside the good ones.

    >>> suggested(0.06, (0.01, 0.24)), suggested(0.03, (0.02, 0.04)), suggested(0.01, (0.01, 0.011))
    (0.04, 0.03, 0.011)
    """
    low, high = good
    wanted = float(f"{max(math.sqrt(best * high) / DIVIDER, FLOOR * low):.2g}")
    return min(max(wanted, low), high)


def smooth(rates: Floats, losses: Sequence[Sequence[float]], *, most: float) -> tuple[Floats, float]:
    """Return the smoothed mean of some sweeps, and by how much that shrinks the noise of a single loss.

    Args:
        rates: (R,) rising.
        losses: of each sweep, at most R; those that ended early count as `most` from there on.
        most: above it losses are cut.

    >>> smooth(np.geomspace(1e-3, 1, 4), [[1.0, 1.0, 1.0, 9.0]], most=3.0)[0].round(3).tolist()
    [1.0, 1.0, 1.0, 3.0]
    """
    table = np.full((len(losses), len(rates)), most)
    for row, values in zip(table, losses, strict=True):
        row[: len(values)] = np.minimum(values, most)[: len(rates)]
    place = np.log10(rates)
    bell = np.exp(-0.5 * ((place[:, None] - place[None, :]) / BELL) ** 2)
    bell /= bell.sum(1, keepdims=True)
    shrunk = float(np.sqrt((bell**2).sum(1)).mean() / math.sqrt(len(losses)))
    return bell @ table.mean(0), shrunk


def _good(
    rates: Floats, smoothed: Floats, start: float, noise: float, coarse: Sweep
) -> tuple[tuple[float, float] | None, str]:
    """Return the lowest and the highest good rate, or None, and the reason."""
    best = int(smoothed.argmin())
    fall = start - float(smoothed[best])
    if not fall > max(LEAST_FALL * abs(start), LEAST_NOISES * noise):
        why = f"the loss never falls: from {start:.4g} to {smoothed[best]:.4g} at best, which is no more than noise"
        return None, f"{why}; train longer, take larger batches, or look at data, loss and network"
    if smoothed[0] < start - HALF * fall:
        return None, (
            f"the loss has fallen by half at {rates[0]:.1e} already, the lowest rate of the fine sweeps: this optimizer"
            " does not follow its rate"
        )
    high = low = best
    while high + 1 < len(rates) and smoothed[high + 1] <= smoothed[best] + RISE * fall:
        high += 1
    while low > 0 and smoothed[low - 1] <= start - HALF * fall:
        low -= 1
    if high == len(rates) - 1 and not coarse.end:
        return None, (
            f"the loss does not rise again up to a rate of {rates[-1]:.2g}: this optimizer, or this network, does not"
            " follow the rate, so that no end of the good ones can be said"
        )
    if high == len(rates) - 1:
        high = min(high, max(best, int(np.searchsorted(rates, coarse.last))))  # only the steeper sweep has exploded
    deepest = f"the fall from {start:.4g} to {smoothed[best]:.4g}, which is deepest at {rates[best]:.2g}"
    return (float(rates[low]), float(rates[high])), (
        f"below {rates[low]:.2g} a sweep does less than half of {deepest}; above {rates[high]:.2g} the loss has risen"
        " again by a tenth of it, or training has exploded"
    )
