"""The rate of a run whose schedule follows its losses: told at each epoch's end, its state kept with the counters.

A change follows from what the run measured, so a resumed or repeated run makes it again; the event is a remark for
people, written once.
"""

import torch

from trainwell.schedules import Driven
from trainwell.train.build import Job
from trainwell.train.events import Event, Events
from trainwell.train.progress import Progress
from trainwell.train.reporter import Reporter

KIND = "rate"  # of the event


def restore(job: Job, progress: Progress) -> None:
    """Give a driven schedule what it knew when the counters were as they are; others know nothing."""
    schedule = job.schedule
    if not isinstance(schedule, Driven):
        return
    if progress.rate:
        schedule.load_state_dict(progress.rate)
    else:
        progress.rate = schedule.state_dict()


def tell(
    job: Job, progress: Progress, train_loss: float, val_loss: float | None, *, events: Events, reporter: Reporter
) -> None:
    """Tell a driven schedule the losses of an epoch, and write down and say what it changes."""
    schedule = job.schedule
    if not isinstance(schedule, Driven):
        return
    change = schedule.observe(progress.step, train_loss=train_loss, val_loss=val_loss)
    progress.rate = schedule.state_dict()
    if change is None:
        return
    base = base_rate(job.optimizer)
    before, after = base * change.before, base * change.after
    events.remark(Event(progress.step, KIND, {"lr": after, "before": before, "reason": change.reason}))
    reporter.say(f"lr {before:.3g} -> {after:.3g} from step {progress.step} on: {change.reason}")


def base_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the lr that the schedule multiplies, without the factors that some groups have beside it."""
    first = optimizer.param_groups[0]
    return float(first["initial_lr"] / first.get("lr_factor", 1.0))
