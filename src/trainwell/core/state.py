"""What a step looks like from outside: the State that hooks may change and probes may only read.

A *Hook* acts: any object with methods named after the places in `HOOK_PLACES`. A *Probe* looks: it
reduces what it sees to numbers at once and keeps no view of a tensor, so training with it is
bit-identical to training without.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.record import Measure, Reading

HOOK_PLACES = ("before_step", "before_forward", "after_backward", "after_step", "after_epoch")


@dataclass(slots=True)
class State:
    """A step under way.

    Attributes:
        model: the network in training.
        optimizer: the real optimizer; `optimizer.param_groups[i]["lr"]` is the rate of this step.
        step: optimizer steps done before this one; `epoch`: passes over the data begun before this one.
        batch: the samples of this step after augmentation and preprocessing.
        losses: list of (N,) per-sample losses in nats, one a micro-batch, detached.
        logits: list of (N, K) raw scores, one a micro-batch, detached.
        autocast: makes the context in which the network runs: lower precision, or nothing at all.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    epoch: int = 0
    batch: Batch | None = None
    losses: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def lr(self) -> float:
        """The learning rate, without the factors that some groups have beside it."""
        first = self.optimizer.param_groups[0]
        return float(first["lr"] / first.get("lr_factor", 1.0))


@runtime_checkable
class Probe(Protocol):
    """An instrument: `measures` says what it measures; `measure` is called after the backward pass.

    It is called with gradients in place and before the optimizer changes the weights.
    """

    measures: tuple[Measure, ...]

    def measure(self, state: State) -> Iterable[Reading]:
        """Return numbers about this step; must not change anything.

        Raises:
            NotExamined: this network, or this batch, cannot be looked at; training goes on.
        """
        ...


@runtime_checkable
class UpdateProbe(Probe, Protocol):
    """A probe that also looks right after the optimizer has changed the weights, with gradients still in place."""

    def measure_update(self, state: State) -> Iterable[Reading]:
        """Return numbers about what the optimizer did; must not change anything."""
        ...
