"""Rates that stay or fall: constant, exponential, by the epoch, in steps, as 1/t, as a power, and along a cosine."""

import math
from bisect import bisect_right
from typing import Literal

from trainwell.core.checked import checked
from trainwell.core.shelves import schedules
from trainwell.core.units import EpochShare, Fraction, Positive
from trainwell.errors import OptionInvalid
from trainwell.schedules.warming import Factor, InnerShare, Multiplier, PerEpoch, Span, counted, warmed, warmup_steps

ROUNDING = 1e-9  # of steps: epochs such as 0.7 are no binary fractions, and halves of steps go to the later one


@schedules.card(source="Robbins & Monro 1951 discuss why it does not converge with noise; warm-up: arXiv:1706.02677")
@checked
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
    rise = warmup_steps("constant", total_steps, steps_per_epoch, warmup)
    return warmed(rise, lambda step: 1.0)


@schedules.card(source="Bishop 1995, Neural networks for pattern recognition, section 7.5; torch's ExponentialLR")
@checked
def exponential(
    total_steps: int, steps_per_epoch: int, *, gamma: PerEpoch = 0.05, warmup: EpochShare = 0.0
) -> Multiplier:
    """The rate falls by the same share in equal times, smoothly.

        multiplier = e^(-gamma * tau),     tau = epochs since the end of warm-up, counted by the step

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        gamma: how fast; the rate halves every ln 2 / gamma epochs.
        warmup: epochs of linear rise, fractions allowed.

    Need not know the length of the run. `epoch_decay` is the same fall written as a factor for each epoch.

    >>> [round(exponential(8, 2, gamma=0.5)(step), 4) for step in (0, 2, 4)]
    [1.0, 0.6065, 0.3679]
    """
    rise = warmup_steps("exponential", total_steps, steps_per_epoch, warmup)
    return counted(rise, total_steps, lambda step: math.exp(-gamma * step / steps_per_epoch))


@schedules.card(source="the usual form in lectures on neural networks; torch's ExponentialLR, stepped once an epoch")
@checked
def epoch_decay(
    total_steps: int,
    steps_per_epoch: int,
    *,
    factor: Factor = 0.95,
    form: Literal["stepwise", "smooth"] = "stepwise",
    warmup: EpochShare = 0.0,
) -> Multiplier:
    """The rate is multiplied by the same factor after each epoch.

        multiplier = factor ** floor(tau)   (stepwise),   factor ** tau   (smooth),   tau as for `exponential`

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        factor: of each epoch; 0.9 and 0.95 are usual.
        form: the same rate for all steps of an epoch, or a little less in each.
        warmup: epochs of linear rise, fractions allowed.

    Need not know the length of the run, but the factor should: 0.9 leaves a hundredth after 44 epochs, 0.95 after 90.

    >>> [round(epoch_decay(6, 2, factor=0.9)(step), 4) for step in range(6)]
    [1.0, 1.0, 0.9, 0.9, 0.81, 0.81]
    """
    rise = warmup_steps("epoch_decay", total_steps, steps_per_epoch, warmup)
    if form == "smooth":
        return counted(rise, total_steps, lambda step: factor ** (step / steps_per_epoch))
    return counted(rise, total_steps, lambda step: factor ** (step // steps_per_epoch))


@schedules.card(source="the usual form in lectures on neural networks; torch's StepLR")
@checked
def step_decay(
    total_steps: int, steps_per_epoch: int, *, every: Span = 10.0, factor: Factor = 0.5, warmup: EpochShare = 0.0
) -> Multiplier:
    """The rate drops by a factor every so many epochs: by default it halves.

        multiplier = factor ** (number of n >= 1 with floor(n * every * steps_per_epoch + 1/2) <= steps since warm-up)

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        every: epochs between two drops; each falls on the nearest step, of two the later.
        factor: of each drop.
        warmup: epochs of linear rise, fractions allowed; the epochs count from its end.

    Need not know the length of the run; `steps` places its drops by shares of it.

    >>> [step_decay(12, 2, every=2)(step) for step in (0, 3, 4, 7, 8)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    rise = warmup_steps("step_decay", total_steps, steps_per_epoch, warmup)
    period = every * steps_per_epoch

    def drops(step: int) -> int:
        count = int((step + 1) / period) + 1  # one or two too many, whatever the rounding of the division
        while count and math.floor(count * period + 0.5 + ROUNDING) > step:
            count -= 1
        return count

    return counted(rise, total_steps, lambda step: factor ** drops(step))


@schedules.card(source="He et al. 2016, arXiv:1512.03385, section 4.2")
@checked
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
    rise = warmup_steps("steps", total_steps, steps_per_epoch, warmup)
    drops = [max(1, round(share * total_steps)) for share in milestones]  # even a run of one step starts at lr
    return warmed(rise, lambda step: gamma ** bisect_right(drops, step))


@schedules.card(source="Darken & Moody 1990, Note on learning rate schedules for stochastic optimization")
@checked
def inverse_time(total_steps: int, steps_per_epoch: int, *, k: PerEpoch = 0.1, warmup: EpochShare = 0.0) -> Multiplier:
    """The rate falls as 1/t: quickly at first, ever more slowly later.

        multiplier = 1 / (1 + k * tau),     tau = epochs since the end of warm-up, counted by the step

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        k: how fast; the rate is halved after 1 / k epochs.
        warmup: epochs of linear rise, fractions allowed.

    The only one here that theory knows to converge with noise: its sum diverges, the sum of its squares does not.

    >>> [inverse_time(12, 2, k=1)(step) for step in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """
    rise = warmup_steps("inverse_time", total_steps, steps_per_epoch, warmup)
    return counted(rise, total_steps, lambda step: 1.0 / (1.0 + k * step / steps_per_epoch))


@schedules.card(source="Chen et al. 2018, DeepLab, arXiv:1606.00915, section 4.1.1")
@checked
def polynomial(
    total_steps: int, steps_per_epoch: int, *, power: Positive = 1.0, final: Fraction = 0.0, warmup: EpochShare = 0.0
) -> Multiplier:
    """The rate falls as a power of what is left of the run: by default along a straight line.

        multiplier = final + (1 - final) * (1 - t / (T - W)) ** power,     t = step - W

    The last step, t = T - W - 1, still moves: `final` would be reached one step later.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        power: 1 is a line; above, most of the fall comes early.
        final: share of lr at the end.
        warmup: epochs of linear rise, fractions allowed; W in steps.

    It must know the length of the run.

    >>> [polynomial(4, 2)(step) for step in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    rise = warmup_steps("polynomial", total_steps, steps_per_epoch, warmup)
    fall = total_steps - rise
    return warmed(rise, lambda step: final + (1.0 - final) * (1.0 - min(step - rise, fall) / fall) ** power)


@schedules.card(source="Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts")
@checked
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
    rise = warmup_steps("cosine", total_steps, steps_per_epoch, warmup)
    fall = total_steps - rise

    def multiplier(step: int) -> float:
        return final + (1.0 - final) * (1.0 + math.cos(math.pi * min(step - rise, fall) / fall)) / 2.0

    return warmed(rise, multiplier)
