"""How measured numbers are held against printed ones: each way makes a Check that says how near it had to be."""

import math

import numpy as np
from numpy.typing import NDArray

from trainwell.lab.experiment import Check

Numbers = NDArray[np.float64]


def shown(value: float) -> str:
    """Say a number in four significant digits.

    >>> shown(0.58379), shown(3.0000001e-7), shown(16.0)
    ('0.5838', '3e-07', '16')
    """
    return f"{value:.4g}"


def half_digit(printed: str) -> float:
    """Return half a unit of the last digit of a printed number: what rounding may have taken or added.

    >>> half_digit("0.628"), half_digit(".000026"), half_digit("3e-7"), half_digit("28")
    (0.0005, 5e-07, 5e-08, 0.5)
    """
    digits, _, power = printed.lower().partition("e")
    places = len(digits.partition(".")[2])
    return 0.5 * float(f"1e{int(power or 0) - places}")


def within_share(claim: str, printed: str, numbers: Numbers, *, share: float) -> Check:
    """Hold the mean over the seeds against a printed number: it must be a share and half the last digit near."""
    mean, target = float(np.mean(numbers)), float(printed)
    allowed = share * abs(target) + half_digit(printed)
    tolerance = f"{100 * share:g} % and half the last printed digit"
    return Check(claim, printed, f"{shown(mean)}, {_count(numbers)}", tolerance, abs(mean - target) <= allowed)


def within_deviations(claim: str, printed: str, numbers: Numbers, *, most: float = 4.0) -> Check:
    """Ask whether a printed number, which is one draw, may be one of ours: so many deviations near the mean."""
    mean, deviation = float(np.mean(numbers)), _deviation(numbers)
    holds = abs(mean - float(printed)) <= most * deviation + half_digit(printed)
    measured = f"{shown(mean)}, deviation {deviation:.2g}, {_count(numbers)}"
    tolerance = f"{most:g} deviations of one draw and half the last printed digit"
    return Check(claim, printed, measured, tolerance, bool(holds))


def within_log_deviations(claim: str, printed: str, numbers: Numbers, *, most: float = 4.0) -> Check:
    """The same for positive numbers that spread by factors: deviations of the logarithm."""
    logs = np.log(numbers)
    middle, factor = float(np.exp(logs.mean())), math.exp(_deviation(logs))
    holds = abs(math.log(float(printed)) - logs.mean()) <= most * math.log(factor)
    ends = f"{shown(float(numbers.min()))} to {shown(float(numbers.max()))}"
    measured = f"{shown(middle)} in the middle, {ends}, {_count(numbers)}"
    return Check(claim, printed, measured, f"{most:g} deviations of the logarithm of one draw", bool(holds))


def within_errors(claim: str, expected: float, numbers: Numbers, *, printed: str = "", most: float = 3.0) -> Check:
    """Hold a mean over the seeds against its expectation: it must be so many standard errors near."""
    mean, error = float(np.mean(numbers)), _deviation(numbers) / math.sqrt(len(numbers))
    holds = abs(mean - expected) <= most * error + 1e-12 * abs(expected)
    measured = f"{shown(mean)} ± {error:.2g}, {_count(numbers)}"
    return Check(claim, printed or shown(expected), measured, f"{most:g} standard errors of the mean", bool(holds))


def _deviation(numbers: Numbers) -> float:
    return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan


def _count(numbers: Numbers) -> str:
    return f"n\u00a0=\u00a0{len(numbers)}"
