"""How the learning rate changes over a run: pure functions from the step to a multiplier of lr.

Steps count from 0 to total_steps - 1, and `multiplier(step)` is the one that the update of that step
uses. It knows no history, so a resumed run asks again and gets the same.

Warm-up of `warmup` epochs is W = round(warmup * steps_per_epoch) steps long. Step s < W is multiplied
by (s + 1) / W: the first step already moves, by lr / W, and step W - 1 is the first at the full lr. The
schedule proper begins at step W. From total_steps on, every schedule stays at its last value.

Source: Goyal et al. 2017, arXiv:1706.02677, section 2.2 (gradual warm-up).
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from trainwell.core.shelves import schedules
from trainwell.core.units import EpochShare, Fraction, Unit
from trainwell.errors import OptionInvalid

Multiplier = Callable[[int], float]

InnerShare = Annotated[float, Gt(0), Lt(1), Unit("share of the run")]
Factor = Annotated[float, Gt(0), Le(1), Unit("factor")]
Divisor = Annotated[float, Ge(1), Unit("divisor")]

RISE_SHARE = 0.3  # of the run: what Smith & Topin's later implementations settled on, torch's among them


@schedules.card(source="Robbins & Monro 1951 discuss why it does not converge with noise; warm-up: arXiv:1706.02677")
def constant(total_steps: int, steps_per_epoch: int, *, warmup: EpochShare = 0.0) -> Multiplier:
    """The same rate at every step, after an optional linear warm-up.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        warmup: epochs of linear rise, fractions allowed.

    Good for a look and for tests; noise keeps it from settling, so a falling rate ends lower.

    >>> [constant(10, 4, warmup=1)(step) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    rise = _warmup_steps("constant", total_steps, steps_per_epoch, warmup)
    return _warmed(rise, lambda step: 1.0)


@schedules.card(source="He et al. 2016, arXiv:1512.03385, section 4.2")
def steps(
    total_steps: int,
    steps_per_epoch: int,
    *,
    milestones: tuple[InnerShare, ...] = (0.5, 0.75),
    gamma: Factor = 0.1,
    warmup: EpochShare = 0.0,
) -> Multiplier:
    """The rate drops by a factor at given shares of the run.

        multiplier = gamma ** (number of milestones m with step >= max(1, round(m * total_steps)))

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        milestones: when to drop, as growing shares of the whole run, warm-up included.
        gamma: factor of each drop.
        warmup: epochs of linear rise, fractions allowed.

    Raises:
        OptionInvalid: milestones do not grow.

    The classic of image classification; each drop makes the loss fall at once.

    >>> [round(steps(8, 2)(step), 4) for step in range(8)]
    [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    if list(milestones) != sorted(set(milestones)):
        raise OptionInvalid(
            f"steps:milestones must grow, each a share of the run, got {list(milestones)}: "
            "write them in order, such as [0.5, 0.75]"
        )
    drops = [max(1, round(share * total_steps)) for share in milestones]  # even a run of one step starts at lr
    rise = _warmup_steps("steps", total_steps, steps_per_epoch, warmup)
    return _warmed(rise, lambda step: gamma ** bisect_right(drops, step))


@schedules.card(source="Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts")
def cosine(total_steps: int, steps_per_epoch: int, *, final: Fraction = 0.0, warmup: EpochShare = 0.0) -> Multiplier:
    """The rate falls along half a cosine wave, slowly at both ends.

        multiplier = final + (1 - final) * (1 + cos(pi * t / (T - W))) / 2,     t = step - W

    The last step, t = T - W - 1, still moves: `final` would be reached one step later.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        final: share of lr at the end.
        warmup: epochs of linear rise, fractions allowed; W in steps.

    No milestones to tune: the default. It must know the length of the run.

    >>> [round(cosine(4, 2)(step), 4) for step in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    rise = _warmup_steps("cosine", total_steps, steps_per_epoch, warmup)
    fall = total_steps - rise

    def multiplier(step: int) -> float:
        return final + (1.0 - final) * (1.0 + math.cos(math.pi * min(step - rise, fall) / fall)) / 2.0

    return _warmed(rise, multiplier)


@schedules.card(source="Smith & Topin 2018, arXiv:1708.07120")
def one_cycle(
    total_steps: int,
    steps_per_epoch: int,
    *,
    warmup: EpochShare | None = None,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
) -> Multiplier:
    """The rate rises to lr and falls far below where it began, both along half a cosine wave.

        step 0: 1 / div_factor      step W - 1: 1      step T - 1: 1 / (div_factor * final_div_factor)

    Differences from the paper: half cosines for straight lines and no third phase, as in torch's
    OneCycleLR; momentum stays as the optimizer has it, here only the rate cycles.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        warmup: epochs of the rise, W in steps; none makes it three tenths of the run. 0 starts at the top.
        div_factor: lr over the first rate.
        final_div_factor: first rate over the last.

    Lets short runs take a rate too large to start with. It must know the length of the run.

    >>> [round(one_cycle(5, 2, warmup=1)(step), 4) for step in range(5)]
    [0.04, 1.0, 0.75, 0.25, 0.0]
    """
    if warmup is None:
        rise = round(RISE_SHARE * total_steps)
    else:
        rise = _warmup_steps("one_cycle", total_steps, steps_per_epoch, warmup)
    top = max(rise - 1, 0)
    first = 1.0 / div_factor
    last = first / final_div_factor

    def multiplier(step: int) -> float:
        if step < top:
            return _half_cosine(first, 1.0, step / top)
        if step >= total_steps - 1:
            return last if total_steps - 1 > top else 1.0
        return _half_cosine(1.0, last, (step - top) / (total_steps - 1 - top))

    return multiplier


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0


def _warmed(rise: int, after: Multiplier) -> Multiplier:
    """Return `after` with a linear rise over the first `rise` steps in its place."""
    return lambda step: (step + 1) / rise if step < rise else after(step)


def _warmup_steps(name: str, total_steps: int, steps_per_epoch: int, warmup: float) -> int:
    rise = round(warmup * steps_per_epoch)
    if rise and rise >= total_steps:
        raise OptionInvalid(
            f"{name}:warmup of {warmup:g} epochs is {rise} steps, and the whole run has {total_steps}: "
            "warm up for less, usually 1 to 5 epochs and at most a third of the run, or train longer"
        )
    return rise
