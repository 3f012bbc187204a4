"""The learning-rate range test: a few short sweeps over mini-batches, each with a rate that rises from step to step.

A coarse sweep from 1e-7 up finds where training explodes. Fine sweeps over the decades around and below that rate,
each from the same first weights and with other batches, give the curve. The loss of a rate is that of the batch
behind its step, so that it shows what the step did. Weights, optimizer and generators end as they began.

Source: Smith 2017, arXiv:1506.01186, section 3.3.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from trainwell.core.batch import Batch
from trainwell.core.recipe import decided
from trainwell.core.record import Record
from trainwell.core.shelves import optimizers
from trainwell.errors import MemoryExhausted, OptionInvalid
from trainwell.train.build import Job
from trainwell.train.driving import base_rate
from trainwell.train.evaluate import is_out_of_memory
from trainwell.train.events import Events
from trainwell.train.folder import RunFolder
from trainwell.train.loop import Loop
from trainwell.train.progress import Progress
from trainwell.train.reporter import Silence

LOWEST, HIGHEST = 1e-7, 100.0
COARSE_STEPS = 54  # six a decade
FINE_DECADES, FINE_SWEEPS = 4.5, 2
FEWEST_STEPS, MOST_STEPS = 100, 300  # of a fine sweep
MARGIN = 4.0  # times the rate of the coarse explosion: slower sweeps survive more
EXPLODED = 3.0  # times the loss at the beginning: more is no mere noise, and nothing is learned behind it
SPREAD = 6.0  # standard deviations of the first losses: an explosion is more than noise


@dataclass(frozen=True)
class Sweep:
    """The losses behind a step at each rate, as far as the sweep came.

    Attributes:
        rates: rising; `losses`: of as many of them as were survived.
        end: why it ended before the last rate, in words; empty where it did not.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    end: str = ""

    @property
    def last(self) -> float:
        """The highest rate that was survived, or the lowest of all."""
        return self.rates[max(len(self.losses) - 1, 0)]


def sweeps(job: Job, folder: RunFolder, *, is_stopped: Callable[[], bool] = lambda: False) -> list[Sweep]:
    """Sweep the rate of a built job and return the coarse sweep and the fine ones.

    Args:
        job: its weights, optimizer and counters are afterwards what they were.
        folder: for the files that a loop writes.
        is_stopped: whether somebody asks to stop.

    Raises:
        OptionInvalid: the optimizer finds its own step, so there is no rate to be swept.
        KeyboardInterrupt: somebody asked to stop.
    """
    refuse_own_steps(decided(job.recipe.optimizer).name)
    with closing(Record(folder.record)) as record, closing(Events(folder)) as events:
        progress = Progress(job.epochs, job.recipe.batch.accumulate)
        loop = Loop(job, progress, record=record, events=events, reporter=Silence())
        schedule = job.schedule
        batches = _batches(job)
        try:
            coarse = _sweep(loop, spread(LOWEST, HIGHEST, COARSE_STEPS), batches, is_stopped)
            top = min(coarse.last * MARGIN, HIGHEST)
            rates = spread(top / 10**FINE_DECADES, top, fine_steps(job.total_steps))
            return [coarse, *(_sweep(loop, rates, batches, is_stopped) for _ in range(FINE_SWEEPS))]
        finally:
            job.schedule = schedule


def refuse_own_steps(optimizer: str) -> None:
    """Refuse an optimizer that needs no rate.

    Raises:
        OptionInvalid: it searches the length of each step itself.
    """
    if optimizers[optimizer].traits.get("needs_closure"):
        raise OptionInvalid(
            f"lr-find moves the rate from step to step, and {optimizer} searches the length of each step itself: name"
            " an optimizer that follows its rate, such as sgd or adamw"
        )


def spread(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return rates from low to high, each the same factor above the one before.

    >>> [round(rate, 3) for rate in spread(0.01, 1.0, 3)]
    [0.01, 0.1, 1.0]
    """
    return tuple(low * (high / low) ** (place / (count - 1)) for place in range(count))


def fine_steps(total_steps: int) -> int:
    """Return how many steps a fine sweep takes: half of the run's, so that it sees as much of learning, within bounds.

    >>> fine_steps(50), fine_steps(300), fine_steps(10_000)
    (100, 150, 300)
    """
    return min(max(total_steps // 2, FEWEST_STEPS), MOST_STEPS)


def _batches(job: Job) -> Iterator[Batch]:
    """Yield batches for ever, each epoch in an order of its own."""
    for epoch in itertools.count():
        yield from job.loaders.train.epoch(epoch)


def _sweep(loop: Loop, rates: Sequence[float], batches: Iterator[Batch], is_stopped: Callable[[], bool]) -> Sweep:
    """Train from the first weights with these rates, until the loss explodes; then put everything back."""
    job, done = loop.job, loop.progress
    base = base_rate(job.optimizer)
    job.schedule = lambda step: rates[min(step, len(rates) - 1)] / base
    losses: list[float] = []
    end = ""
    job.model.train()
    devices = [job.device] if job.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            for step in range(len(rates) + 1):  # one more: a loss shows the step before it
                if is_stopped():
                    raise KeyboardInterrupt
                done.step = step
                loss = _advance(loop, next(batches))
                end = _trouble(loss, losses)
                if end:
                    break
                losses.append(loss)
    finally:
        loop.go_back()
    if end:
        end = f"{end} behind a step at {rates[max(len(losses) - 1, 0)]:.2g}"
    return Sweep(tuple(rates), tuple(losses[1:]), end)


def _advance(loop: Loop, batch: Batch) -> float:
    """Do one step and return the mean loss before it; an optimizer that refuses gradients of NaN is no fault here.

    Raises:
        MemoryExhausted: the batch does not fit.
    """
    loop.state.losses = []
    try:
        loop.advance(batch)
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryExhausted(
                f"a batch of {len(batch)} does not fit into the memory of {loop.job.device}: choose a smaller"
                " --batch-size, or compute it in pieces with --set batch.accumulate=2"
            ) from error
        loss = _mean(loop.state.losses, loop.state.batch)
        if math.isfinite(loss):
            raise
        return loss
    return _mean(loop.state.losses, loop.state.batch)


def _mean(losses: Sequence[Tensor], batch: Batch | None) -> float:
    """Return the mean of the losses of a batch as the loop weighs them; 0 where there are none yet."""
    if not losses or batch is None:
        return 0.0
    every = torch.cat([loss.float() for loss in losses])
    weights = batch.weight if batch.weight is not None else torch.ones_like(every)
    return float((every * weights).sum() / weights.sum())


def _trouble(loss: float, before: Sequence[float]) -> str:
    """Say why a sweep ends with a loss, or nothing."""
    if not math.isfinite(loss):
        return f"the loss was {loss}"
    first = before[: max(5, len(before) // 10)]
    if len(first) < 5:
        return ""
    start = sum(first) / len(first)
    noise = math.sqrt(sum((value - start) ** 2 for value in first) / (len(first) - 1))
    if loss > max(EXPLODED * start, start + SPREAD * noise):
        return f"the loss was {loss / max(start, 1e-12):.2g} times what it was at first"
    return ""
