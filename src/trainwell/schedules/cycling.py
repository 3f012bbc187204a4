"""Rates that rise again: warm restarts, cycles with a snapshot at each end, triangles, and one single cycle."""

import math
from bisect import bisect_right
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from trainwell.core.checked import checked
from trainwell.core.shelves import schedules
from trainwell.core.units import Count, EpochShare, Fraction, Unit
from trainwell.errors import OptionInvalid
from trainwell.schedules.warming import Divisor, Factor, Multiplier, Span, counted, warmup_steps

RISE_SHARE = 0.3  # of the run: what Smith & Topin's later implementations settled on, torch's among them
EXP_RANGE_GAMMA = 0.99994  # a step: of Smith's experiments on CIFAR-10 with 25,000 steps and more

Growth = Annotated[float, Ge(1), Unit("factor")]
Lowest = Annotated[float, Gt(0), Lt(1), Unit("share of lr")]


@schedules.card(source="Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5")
@checked
def warm_restarts(
    total_steps: int,
    steps_per_epoch: int,
    *,
    first: Span = 10.0,
    growth: Growth = 2.0,
    final: Fraction = 0.0,
    warmup: EpochShare = 0.0,
) -> Multiplier:
    """The rate falls along half a cosine wave and springs back to lr, in ever longer cycles (SGDR).

        multiplier = final + (1 - final) * (1 + cos(pi * T_cur / T_i)) / 2,     T_0 = first,   T_i+1 = growth * T_i

    T_cur, in epochs since the last restart, is counted by the step, as in the paper. A restart that falls between two
    steps acts in the second of them, with what has gone by of its cycle. torch's CosineAnnealingWarmRestarts agrees
    while it is stepped without an argument; its `step(epoch)` misses restarts by one for growth 3 and 10.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        first: epochs of the first cycle.
        growth: each cycle is so many times longer than the one before.
        final: share of lr at the end of each cycle.
        warmup: epochs of linear rise, fractions allowed; the cycles count from its end.

    Raises:
        OptionInvalid: the first cycle is shorter than a step.

    Good at any moment just before a restart, so that the length of the run need not be known. End a run there: with
    growth 2, after 1, 3, 7, 15 times `first`.

    >>> [round(warm_restarts(20, 1, first=2)(step), 4) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """
    rise = warmup_steps("warm_restarts", total_steps, steps_per_epoch, warmup)
    length = first * steps_per_epoch
    if _snapped(length) < 1:
        raise OptionInvalid(
            f"warm_restarts:first of {first:g} epochs is {length:.2g} steps: a cycle must last a step at least, and"
            f" means something from about {10 / steps_per_epoch:g} epochs on"
        )
    starts, lengths = [0.0], [length]
    while starts[-1] + length < total_steps:
        starts.append(_snapped(starts[-1] + length))
        length *= growth
        lengths.append(length)

    def multiplier(step: int) -> float:
        cycle = bisect_right(starts, step) - 1
        return final + (1.0 - final) * (1.0 + math.cos(math.pi * (step - starts[cycle]) / lengths[cycle])) / 2.0

    return counted(rise, total_steps, multiplier)


def _snapped(steps: float) -> float:
    """Return a whole number of steps where only rounding of the epochs keeps it from being one.

    >>> _snapped(0.1 * 3 * 10), _snapped(7.5)
    (3.0, 7.5)
    """
    near = float(round(steps))
    return near if math.isclose(steps, near, rel_tol=1e-9) else steps


@schedules.card(source="Huang et al. 2017, arXiv:1704.00109, equation 2")
@checked
def snapshot_cycles(
    total_steps: int, steps_per_epoch: int, *, cycles: Count = 5, warmup: EpochShare = 0.0
) -> Multiplier:
    """The run is cut into equal cycles, each of which falls along half a cosine wave: a snapshot at each end.

        multiplier = (cos(pi * mod(t - 1, C) / C) + 1) / 2,     C = ceil(T / cycles),   t = 1 in the first step

    It never reaches zero. Where T is no multiple of C, the last cycle is cut short, so its snapshot is taken at a
    higher rate; the authors' Lua code makes it longer instead. `warm_restarts:growth=1` takes the length of a cycle,
    this the number of cycles.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        cycles: M, how many; where T is no multiple of M and hardly longer, fewer: 10 cycles of 21 steps are 7 of 3.
        warmup: epochs of linear rise, fractions allowed; the cycles share the rest of the run.

    Weights from the ends of the cycles, averaged in what they answer, are an ensemble for the price of one run.

    >>> [round(snapshot_cycles(6, 2, cycles=2)(step), 4) for step in range(6)]
    [1.0, 0.75, 0.25, 1.0, 0.75, 0.25]
    """
    rise = warmup_steps("snapshot_cycles", total_steps, steps_per_epoch, warmup)
    length = -(-(total_steps - rise) // cycles)
    return counted(rise, total_steps, lambda step: (math.cos(math.pi * (step % length) / length) + 1.0) / 2.0)


@schedules.card(source="Smith 2017, arXiv:1506.01186, section 3.2", rises=True)
@checked
def cyclical(
    total_steps: int,
    steps_per_epoch: int,
    *,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    half_cycle: Span = 2.0,
    lowest: Lowest = 0.25,
    gamma: Factor | None = None,
) -> Multiplier:
    """The rate goes up and down in straight lines between a share of lr and lr.

        cycle = floor(1 + t / (2 s)),   x = |t / s - 2 cycle + 1|,   s = half_cycle * steps_per_epoch
        multiplier = lowest + (1 - lowest) * max(0, 1 - x) * scale
        scale = 1 (triangular),   1 / 2^(cycle - 1) (triangular2),   gamma^t (exp_range)

    It begins at `lowest`, so there is no warm-up beside it. Momentum stays as the optimizer has it; torch's CyclicLR
    cycles it too unless told not to.

    Args:
        total_steps: T, steps of the whole run.
        steps_per_epoch: steps of one pass over the training split.
        mode: all triangles of one height; each half as high as the one before; or lower by `gamma` in each step.
        half_cycle: epochs of a rise; the paper finds 2 to 10 good.
        lowest: share of lr where the triangles stand; the paper takes a third or a fourth.
        gamma: factor of each step in mode exp_range, 0.99994 where none is given; none in the other modes.

    Raises:
        OptionInvalid: gamma in a mode that has none.

    Both rates can be read off a range test (`trainwell lr-find`).

    >>> [cyclical(8, 2, half_cycle=1, lowest=0.5)(step) for step in range(5)]
    [0.5, 0.75, 1.0, 0.75, 0.5]
    """
    warmup_steps("cyclical", total_steps, steps_per_epoch, 0.0)
    if gamma is not None and mode != "exp_range":
        raise OptionInvalid(f"cyclical:gamma is for mode=exp_range, and mode is {mode}: leave one of them out")
    decay = EXP_RANGE_GAMMA if gamma is None else gamma
    half = half_cycle * steps_per_epoch

    def multiplier(step: int) -> float:
        cycle = math.floor(1 + step / (2 * half))
        x = abs(step / half - 2 * cycle + 1)
        scale = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": decay**step}[mode]
        return lowest + (1.0 - lowest) * max(0.0, 1.0 - x) * scale

    return counted(0, total_steps, multiplier)


@schedules.card(source="Smith & Topin 2018, arXiv:1708.07120")
@checked
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
    rise = warmup_steps("one_cycle", total_steps, steps_per_epoch, warmup or 0.0)
    if warmup is None:
        rise = round(RISE_SHARE * total_steps)
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
