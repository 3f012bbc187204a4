"""The rate and momentum that YellowFin reads off the gradients' norms: five running averages and one cubic.

Source: Zhang & Mitliagkas 2017, "YellowFin and the art of momentum tuning", arXiv:1706.03471, algorithms 1-4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Averages(NamedTuple):
    """Running averages over all steps so far, each started at 0 and not yet corrected for it.

    `top` and `bottom` are of the largest and smallest squared norm in the window, or of their logarithms; `squared`
    and `norm` of the squared norm and the norm of the gradient; `distance` of their quotient.
    """

    steps: int = 0
    top: float = 0.0
    bottom: float = 0.0
    squared: float = 0.0
    norm: float = 0.0
    distance: float = 0.0


class Landscape(NamedTuple):
    """What the averages say: the range of curvature, the variance of the gradient, the distance to the minimum."""

    highest: float
    lowest: float
    variance: float
    distance: float


def averaged(old: Averages, squares: Sequence[float], *, beta: float, eps: float, is_log: bool) -> Averages:
    """Return the averages after one more step.

    Args:
        old: the averages before it.
        squares: squared norms of the gradients in the window, the newest last.
        beta: share of an average that survives a step.
        eps: added to squared norms in front of logarithms and below fractions.
        is_log: average the logarithms of the largest and smallest.

    >>> averaged(Averages(), [4.0], beta=0.5, eps=0.0, is_log=False)
    Averages(steps=1, top=2.0, bottom=2.0, squared=2.0, norm=1.0, distance=0.25)
    """

    def mix(average: float, value: float) -> float:
        return beta * average + (1 - beta) * value

    top, bottom = max(squares), min(squares)
    squared, norm = mix(old.squared, squares[-1]), mix(old.norm, math.sqrt(squares[-1]))
    return Averages(
        old.steps + 1,
        mix(old.top, math.log(top + eps) if is_log else top),
        mix(old.bottom, math.log(bottom + eps) if is_log else bottom),
        squared,
        norm,
        mix(old.distance, norm / (squared + eps)),
    )


def joined(old: Averages, late: float, *, beta: float, eps: float, is_log: bool) -> Averages:
    """Return the averages as if gradients of more parameters, of one squared norm, had always been measured too.

    Without it one count of steps cannot correct them: all that late parameters add would pass for variance.

    Args:
        old: the averages without them, of at least one step.
        late: squared norm of their first gradients.
        beta: share of an average that survives a step.
        eps: added to squared norms below fractions.
        is_log: `top` and `bottom` are of logarithms.

    >>> joined(Averages(1, 2.0, 2.0, 2.0, 1.0, 0.25), 12.0, beta=0.5, eps=0.0, is_log=False)
    Averages(steps=1, top=8.0, bottom=8.0, squared=8.0, norm=2.0, distance=0.125)
    """
    share = 1 - beta**old.steps

    def add(average: float) -> float:
        return share * math.log(math.exp(average / share) + late) if is_log else average + share * late

    squared, norm = old.squared + share * late, share * math.sqrt((old.norm / share) ** 2 + late)
    before, after = old.norm / (old.squared + eps), norm / (squared + eps)
    distance = old.distance * after / before if before else share * after
    return Averages(old.steps, add(old.top), add(old.bottom), squared, norm, distance)


def landscape(averages: Averages, mean_square: float, *, beta: float, is_log: bool) -> Landscape:
    """Return the measurements, corrected for averages that started at zero.

    Args:
        averages: of at least one step.
        mean_square: squared norm of the averaged gradient, which also started at zero.
        beta: share of an average that survives a step.
        is_log: `top` and `bottom` are of logarithms.

    >>> landscape(Averages(1, 2.0, 2.0, 2.0, 1.0, 0.25), 1.0, beta=0.5, is_log=False)
    Landscape(highest=4.0, lowest=4.0, variance=0.0, distance=0.5)
    """
    share = 1 - beta**averages.steps
    highest, lowest = averages.top / share, averages.bottom / share
    if is_log:
        highest, lowest = math.exp(highest), math.exp(lowest)
    variance = averages.squared / share - mean_square / share**2
    return Landscape(highest, lowest, max(variance, 0.0), averages.distance / share)


def single_step(seen: Landscape, *, eps: float) -> tuple[float, float]:
    """Return the momentum and rate that bring a noisy bowl closest to its minimum in one step.

        minimize mu D^2 + (1 - sqrt(mu))^4 C / h_min^2   over mu >= ((sqrt(k) - 1) / (sqrt(k) + 1))^2, k = h_max / h_min
        alpha = (1 - sqrt(mu))^2 / h_min

    >>> [round(value, 7) for value in single_step(Landscape(1.0, 1.0, 1.0, 1.0), eps=0.0)]
    [0.1683014, 0.3478104]
    """
    lowest, distance = seen.lowest + eps, seen.distance + eps
    # What is missing from sqrt(mu) to 1 keeps all its digits where mu is close to 1.
    variance = seen.variance + eps
    relative = math.inf if variance == 0 else distance * lowest / math.sqrt(2 * variance)
    gap = missing_root(relative * relative)
    gap = min(gap, 2 / (math.sqrt(max((seen.highest + eps) / lowest, 1.0)) + 1))
    return (1 - gap) ** 2, gap**2 / lowest


def missing_root(p: float) -> float:
    """Return z = 1 - x for the one real root x of (1 - x)^3 = p x, which lies between 0 and 1.

    y = -z solves y^3 + p y + p = 0. Its hyperbolic form loses no digits for any p > 0, where Vieta's substitution
    subtracts two numbers that become equal. Without any variance p is infinite, and z is 1.

    >>> round(1 - missing_root(0.5), 10)
    0.4102454877
    """
    if p > 1e30:  # 1 - z = 1 / p, which is nothing beside 1
        return 1.0
    return 2 * math.sqrt(p / 3) * math.sinh(math.asinh(1.5 * math.sqrt(3 / p)) / 3)
