"""Warm-up: the first steps of a run take a smaller rate, and the schedule proper begins behind them.

W = round(warmup * steps_per_epoch) steps long. The gradual one multiplies step s < W by (s + 1) / W: the
first step already moves, by lr / W, and step W - 1 is the first at the full lr.

Source: Goyal et al. 2017, arXiv:1706.02677, section 2.2.
"""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from trainwell.core.units import Unit
from trainwell.errors import OptionInvalid

Multiplier = Callable[[int], float]

InnerShare = Annotated[float, Gt(0), Lt(1), Unit("share of the run")]
Factor = Annotated[float, Gt(0), Le(1), Unit("factor")]
Divisor = Annotated[float, Ge(1), Unit("divisor")]
Span = Annotated[float, Gt(0), Unit("epochs, fractions allowed")]
PerEpoch = Annotated[float, Ge(0), Unit("per epoch")]


def warmup_steps(name: str, total_steps: int, steps_per_epoch: int, warmup: float) -> int:
    """Return W for a schedule of this name.

    Raises:
        OptionInvalid: nothing of the run would be left, or there is no run.

    >>> warmup_steps("cosine", 100, 10, 2.5)
    25
    """
    for fact, value in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
        if value < 1:
            raise OptionInvalid(f"{name}:{fact} must be a whole number >= 1, got {value!r}: count the steps of the run")
    rise = round(warmup * steps_per_epoch)
    if rise and rise >= total_steps:
        raise OptionInvalid(
            f"{name}:warmup of {warmup:g} epochs is {rise} steps, and the whole run has {total_steps}: "
            "warm up for less, usually 1 to 5 epochs and at most a third of the run, or train longer"
        )
    return rise


def warmed(rise: int, after: Multiplier) -> Multiplier:
    """Return `after` with a linear rise over the first `rise` steps in its place.

    >>> [warmed(2, lambda step: 1.0)(step) for step in range(3)]
    [0.5, 1.0, 1.0]
    """
    return lambda step: (step + 1) / rise if step < rise else after(step)


def counted(rise: int, total_steps: int, after: Multiplier) -> Multiplier:
    """Return a schedule that counts its steps from the end of warm-up, and stays as it is in the last step of the run.

    >>> [counted(1, 4, lambda step: 1 / (1 + step))(step) for step in (0, 1, 2, 3, 4, 9)]
    [1.0, 1.0, 0.5, 0.3333333333333333, 0.3333333333333333, 0.3333333333333333]
    """
    last = total_steps - 1
    return warmed(rise, lambda step: after(min(step, last) - rise))
