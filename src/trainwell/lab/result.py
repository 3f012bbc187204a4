"""What came of an experiment: its numbers with intervals, its checks and their verdict, as plain data."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.core.stats import Interval, student_interval
from trainwell.lab.experiment import Check, Table

SHOWN, NOT_SHOWN, NOT_EXAMINED = "shown", "not shown", "not examined"
DIGITS = 6  # significant, of a number in a result; the cache keeps all of them


@dataclass(frozen=True)
class Result:
    """What came of an experiment.

    Attributes:
        name, claims, source, question, note: what was asked, and where it was printed.
        checks: every claim with what was printed and measured; a failed one stays.
        table: the numbers, or None where it was not examined.
        why: why it was not examined, in words; empty where it was.
        faults: measurements that failed, each with experiment, arm and seed.
        seeds: of each arm.
        is_quick: whether it is the quick form.
        seconds: that measuring took, all pairs together, whether now or before.
        measured, cached: how many pairs were measured now, and how many were read.
        machine: what it was measured on, with versions.
        date: when the result was put together, UTC.
    """

    name: str
    claims: tuple[int, ...]
    source: str
    question: str
    note: str
    checks: tuple[Check, ...]
    table: Table | None
    why: str
    faults: tuple[str, ...]
    seeds: int
    is_quick: bool
    seconds: float
    measured: int
    cached: int
    machine: Mapping[str, Any]
    date: str

    @property
    def verdict(self) -> str:
        """`shown` where every check holds, `not examined` where nothing was judged."""
        if self.table is None or not self.checks:
            return NOT_EXAMINED
        return SHOWN if all(check.holds for check in self.checks) else NOT_SHOWN

    @property
    def holding(self) -> int:
        """How many checks hold."""
        return sum(bool(check.holds) for check in self.checks)  # truth values of NumPy sum to integers of NumPy

    @property
    def words(self) -> str:
        """The verdict with what it stands on: `shown (12 of 12 checks hold)`."""
        if self.verdict == NOT_EXAMINED:
            return f"{NOT_EXAMINED} ({self.why})"
        one = "check holds" if len(self.checks) == 1 else "checks hold"
        return f"{self.verdict} ({self.holding} of {len(self.checks)} {one})"

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data that strict JSON can hold; what is not finite is null."""
        return {
            "name": self.name,
            "claims": list(self.claims),
            "question": self.question,
            "source": self.source,
            "note": self.note,
            "verdict": self.verdict,
            "why": self.why,
            "holding": self.holding,
            "checks": [check_to_plain(check) for check in self.checks],
            "measures": list(measures(self.table)) if self.table is not None else [],
            "faults": list(self.faults),
            "seeds": self.seeds,
            "is_quick": self.is_quick,
            "seconds": round(self.seconds, 1),
            "measured": self.measured,
            "cached": self.cached,
            "date": self.date,
            "machine": dict(self.machine),
        }


def check_to_plain(check: Check) -> dict[str, Any]:
    """Return a check as plain data, with its verdict in words."""
    return {
        "claim": check.claim,
        "printed": str(check.printed),
        "measured": str(check.measured),
        "tolerance": check.tolerance,
        "holds": bool(check.holds),
        "verdict": SHOWN if check.holds else NOT_SHOWN,
    }


def measures(table: Table) -> Iterator[dict[str, Any]]:
    """Yield each measure of each arm: its mean over the seeds, its interval and deviation; a curve point by point."""
    for arm, name, numbers in table.rows():
        about = {"arm": arm, "measure": name, "n": len(numbers)}
        if numbers.ndim == 1:
            interval = mean_of(numbers)
            yield {**about, **_plain(interval), "deviation": _number(_deviation(numbers))}
        else:
            points = [mean_of(column) for column in numbers.T]
            plain = [_plain(point) for point in points]
            yield {**about, **{part: [point[part] for point in plain] for part in ("mean", "low", "high")}}


def mean_of(numbers: NDArray[np.float64]) -> Interval:
    """Return the mean of a number over the seeds with its 95 % interval; without a word where some are not finite.

    >>> print(mean_of(np.array([1.0, np.inf])).value)
    inf
    """
    with np.errstate(all="ignore"):
        return student_interval(numbers)


def _deviation(numbers: NDArray[np.float64]) -> float:
    with np.errstate(all="ignore"):
        return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan


def _plain(interval: Interval) -> dict[str, float | None]:
    return {"mean": _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
