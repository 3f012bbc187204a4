"""How the learning rate changes over a run: functions from the step to a multiplier of lr.

Steps count from 0 to total_steps - 1, and `multiplier(step)` is the one that the update of that step
uses. All but the driven ones know no history, so a resumed run asks again and gets the same; `plateau`
and `bold_driver` follow the losses, and what they have learned is stored with the run.

Warm-up of `warmup` epochs is W = round(warmup * steps_per_epoch) steps long. Step s < W is multiplied
by (s + 1) / W: the first step already moves, by lr / W, and step W - 1 is the first at the full lr. The
schedule proper begins at step W: epochs count from there, by the step, so that they may be fractions.
From total_steps on, every schedule stays at the value that it has there.

Source: Goyal et al. 2017, arXiv:1706.02677, section 2.2 (gradual warm-up).
"""

from trainwell.schedules.composed import warm_up
from trainwell.schedules.cycling import cyclical, one_cycle, snapshot_cycles, warm_restarts
from trainwell.schedules.driven import Change, Driven, bold_driver, plateau
from trainwell.schedules.falling import (
    constant,
    cosine,
    epoch_decay,
    exponential,
    inverse_time,
    polynomial,
    step_decay,
    steps,
)
from trainwell.schedules.warming import Multiplier

__all__ = [
    "Change",
    "Driven",
    "Multiplier",
    "bold_driver",
    "constant",
    "cosine",
    "cyclical",
    "epoch_decay",
    "exponential",
    "inverse_time",
    "one_cycle",
    "plateau",
    "polynomial",
    "snapshot_cycles",
    "step_decay",
    "steps",
    "warm_restarts",
    "warm_up",
]
