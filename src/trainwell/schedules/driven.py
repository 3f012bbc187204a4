"""Rates that follow from how training goes: `plateau`, which only lowers, and `bold_driver`, which also raises.

Their schedule is an object: called with a step like any other, and told at each epoch's end how large the losses were.
What it has learned from them is plain data, which `state_dict` gives and `load_state_dict` takes, so that a run that
was interrupted or rolled back goes on with the same rates.

>>> rate = plateau(100, 10, patience=2)
>>> [rate.observe(10 * epoch, train_loss=loss) is not None for epoch, loss in enumerate([1.0, 0.9, 0.9, 0.9], 1)]
[False, False, False, True]
>>> rate(40)
0.1
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from annotated_types import Ge, Gt, Lt

from trainwell.core.checked import checked
from trainwell.core.shelves import schedules
from trainwell.core.units import Count, EpochShare, Fraction, ProperFraction, Unit
from trainwell.schedules.warming import Multiplier, warmup_steps

Watched = Literal["val", "train"]
Cut = Annotated[float, Gt(0), Lt(1), Unit("factor")]
Raise = Annotated[float, Ge(1), Unit("factor")]
Cooldown = Annotated[int, Ge(0), Unit("epochs")]


@dataclass(frozen=True)
class Change:
    """A multiplier that a driven schedule has changed, and why, in words that follow a colon."""

    before: float
    after: float
    reason: str


@runtime_checkable
class Driven(Protocol):
    """A schedule that is told how training goes."""

    def __call__(self, step: int) -> float:
        """Return the multiplier of a step, by what is known so far."""
        ...

    def observe(self, step: int, *, train_loss: float, val_loss: float | None = None) -> Change | None:
        """Take the losses of an epoch that ended when `step` steps were done; return what changes from there on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what has been learned so far: a flat mapping to numbers, None and lists of numbers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        ...


class Judge(Protocol):
    """What decides about a rate from one loss after another."""

    state: dict[str, Any]

    def judge(self, loss: float, level: float) -> tuple[float, str]:
        """Return the multiplier that shall hold after a loss, and the reason; the same one, and nothing, to keep it."""
        ...


class DrivenRate:
    """A multiplier that holds for an epoch, and is judged at its end.

    Args:
        judge: what decides.
        watch: the loss that it sees; train's where no val loss is given.
        rise: steps at the beginning that take what `warming` says, and whose losses are not judged.
        warming: the multiplier of each of these steps.
    """

    def __init__(self, judge: Judge, *, watch: Watched, rise: int = 0, warming: Multiplier = lambda step: 1.0) -> None:
        self.judge, self.watch, self.rise, self.warming = judge, watch, rise, warming
        self.level = 1.0

    def __call__(self, step: int) -> float:
        """Return the multiplier of a step, by what is known so far."""
        return self.warming(step) if step < self.rise else self.level

    def observe(self, step: int, *, train_loss: float, val_loss: float | None = None) -> Change | None:
        """Take the losses of an epoch that ended when `step` steps were done; return what changes from there on."""
        if step <= self.rise:  # the whole epoch was warm-up
            return None
        is_val = self.watch == "val" and val_loss is not None
        before, loss = self.level, val_loss if is_val and val_loss is not None else train_loss
        self.level, reason = self.judge.judge(loss, before)
        if self.level == before:
            return None
        return Change(before, self.level, f"{'val' if is_val else 'train'}/loss {reason}")

    def state_dict(self) -> dict[str, Any]:
        """Return what has been learned so far."""
        return {"level": self.level, **self.judge.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        rest = dict(state)
        self.level = float(rest.pop("level"))
        self.judge.state = rest


@dataclass
class Patience:
    """Lowers when no loss was better than the best for a while; the state is replaced, never changed in place."""

    factor: float
    patience: int
    threshold: float
    cooldown: int
    lowest: float

    def __post_init__(self) -> None:
        self.state: dict[str, Any] = {"best": None, "waited": 0, "resting": 0}

    def judge(self, loss: float, level: float) -> tuple[float, str]:
        """Return the level after a loss; see `plateau`."""
        best, waited, resting = self.state["best"], self.state["waited"] + 1, self.state["resting"]
        if not math.isnan(loss) and (best is None or loss < best - self.threshold * abs(best)):
            best, waited = loss, 0
        if resting:
            waited, resting = 0, resting - 1
        reason = ""
        if waited >= self.patience:
            told = f"{self.patience} epochs" if self.patience > 1 else "an epoch"
            wanted = "a number" if best is None else f"{100 * self.threshold:g} % below {best:.4g}"
            reason = f"was not {wanted} for {told}"
            level, waited, resting = max(level * self.factor, self.lowest), 0, self.cooldown
        self.state = {"best": best, "waited": waited, "resting": resting}
        return level, reason


@schedules.card(source="torch's ReduceLROnPlateau; Keras' callback of the same name", driven=True)
@checked
def plateau(
    total_steps: int,
    steps_per_epoch: int,
    *,
    factor: Cut = 0.1,
    patience: Count = 10,
    threshold: ProperFraction = 1e-4,
    cooldown: Cooldown = 0,
    lowest: Fraction = 0.0,
    watch: Watched = "val",
    warmup: EpochShare = 0.0,
) -> DrivenRate:
    """The rate drops by a factor when the loss no longer falls; it never rises.

    A loss is better if it is below the best one so far by more than threshold times its size: as in torch where losses
    are positive. NaN never is. After
    `patience` epochs in a row that are not better, the rate drops and the count begins anew: with patience 1 the first
    epoch that is not better lowers it. Keras and our early stopping count alike, with an absolute difference in Keras;
    torch acts one epoch later, when more than `patience` epochs were not better, so its 9 is our 10.

    Args:
        total_steps: T, steps of the whole run; it need not be known.
        steps_per_epoch: steps of one pass over the training split.
        factor: of each drop.
        patience: epochs in a row that are not better.
        threshold: share of the best loss by which a better one is below it.
        cooldown: epochs behind a drop that do not count as not better.
        lowest: share of lr below which it does not drop.
        watch: the loss that counts; that of train where there is no val split.
        warmup: epochs of linear rise, fractions allowed, whose losses do not count.

    For runs whose length is open. Choose a patience for early stopping that is longer. With few val samples the loss
    is noisy: the more so, the longer the patience should be.

    >>> rate = plateau(100, 10, patience=1, factor=0.5)
    >>> rate.observe(10, train_loss=2.0, val_loss=1.0)
    >>> rate.observe(20, train_loss=1.5, val_loss=1.1).reason
    'val/loss was not 0.01 % below 1 for an epoch'
    """
    rise = warmup_steps("plateau", total_steps, steps_per_epoch, warmup)
    judge = Patience(factor, patience, threshold, cooldown, lowest)
    return DrivenRate(judge, watch=watch, rise=rise, warming=lambda step: (step + 1) / rise)


@dataclass
class Temper:
    """Raises while losses fall slowly and steadily, lowers else; the state is replaced, never changed in place."""

    up: float
    down: float
    window: int
    slow: float
    tolerance: float
    stall: float
    lowest: float
    highest: float

    def __post_init__(self) -> None:
        self.state: dict[str, Any] = {"losses": []}

    def judge(self, loss: float, level: float) -> tuple[float, str]:
        """Return the level after a loss; see `bold_driver`."""
        losses = [*self.state["losses"], loss][-self.window - 1 :]
        self.state = {"losses": losses}
        factor, reason = self._verdict(losses)
        if factor < 1:
            self.state = {"losses": [loss] if math.isfinite(loss) else []}  # judged by what the new rate does
        return min(max(level * factor, min(self.lowest, level)), max(self.highest, level)), reason

    def _verdict(self, losses: list[float]) -> tuple[float, str]:
        """Return the factor for the rate, and why."""
        if not math.isfinite(losses[-1]):
            return self.down, f"is {losses[-1]}"
        if len(losses) == 1:
            return 1.0, ""
        scale = max(abs(losses[0]), 1e-12)
        falls = [(before - after) / scale for before, after in itertools.pairwise(losses)]
        span = f"over {len(falls)} epochs"
        if falls[-1] < -self.tolerance:
            return self.down, f"rose by {-100 * falls[-1]:.2g} %, from {losses[-2]:.4g} to {losses[-1]:.4g}"
        if len(falls) < self.window:
            return 1.0, ""
        fall, way = sum(falls), sum(map(abs, falls))
        if min(falls) < 0 < max(falls) and way > 2 * abs(fall):
            return self.down, f"goes up and down by {100 * way / len(falls):.2g} % an epoch {span} and gets nowhere"
        if fall < self.stall:
            return self.down, f"stalls: it fell by {max(100 * fall, 0):.2g} % {span}"
        if min(falls) > 0 and fall / len(falls) < self.slow:
            return self.up, f"falls slowly and steadily, by {100 * fall / len(falls):.2g} % an epoch {span}"
        return 1.0, ""


@schedules.card(
    source="Vogl et al. 1988, Accelerating the convergence of the back-propagation method; Battiti 1989", driven=True
)
@checked
def bold_driver(
    total_steps: int,
    steps_per_epoch: int,
    *,
    up: Raise = 1.05,
    down: Cut = 0.5,
    window: Count = 3,
    slow: Fraction = 0.1,
    tolerance: Fraction = 0.02,
    stall: Fraction = 1e-3,
    lowest: Fraction = 1e-3,
    highest: Raise = 10.0,
    watch: Watched = "train",
    warmup: EpochShare = 0.0,
) -> DrivenRate:
    """The rate rises while the loss falls slowly and steadily, and drops when it rises, fluctuates or stalls.

        rose by more than `tolerance` in the last epoch         -> times `down`
        over the last `window` epochs, judged in this order:
          up and down, by more than twice what was won or lost  -> times `down`
          fell by less than `stall` altogether                  -> times `down`
          fell in each, by less than `slow` an epoch            -> times `up`
        else it stays, as when the loss falls fast. After a drop the window fills anew.

    Falls and rises are shares of the loss at the beginning of the window. The bold driver of the sources judges each
    update of full-batch gradient descent and takes one back that made the loss rise; with mini-batches every loss is
    noisy, so this one judges epochs, takes nothing back, and also looks for fluctuation and stalling.

    Args:
        total_steps: T, steps of the whole run; it need not be known.
        steps_per_epoch: steps of one pass over the training split.
        up: factor of each rise.
        down: factor of each drop.
        window: epochs that are judged together.
        slow: share of the loss an epoch, below which a fall is slow.
        tolerance: share of the loss by which it may rise in an epoch.
        stall: share of the loss over the window, below which a fall is none.
        lowest: share of lr below which it does not drop.
        highest: times lr above which it does not rise.
        watch: the loss that counts; that of train where there is no val split.
        warmup: epochs of linear rise, fractions allowed, whose losses do not count.

    Finds its way from a rate that is too low or too high by some factor. What it does to the end of a run depends on
    noise: a schedule that falls to zero by plan mostly ends lower.

    >>> rate = bold_driver(100, 10, window=2)
    >>> for epoch, loss in enumerate([1.0, 0.95, 0.91, 1.2], 1):
    ...     _ = rate.observe(10 * epoch, train_loss=loss)
    ...     print(rate(10 * epoch))
    1.0
    1.0
    1.05
    0.525
    """
    rise = warmup_steps("bold_driver", total_steps, steps_per_epoch, warmup)
    judge = Temper(up, down, window, slow, tolerance, stall, lowest, highest)
    return DrivenRate(judge, watch=watch, rise=rise, warming=lambda step: (step + 1) / rise)
