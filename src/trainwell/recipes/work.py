"""How often a network can see every sample in the work, or the time, that a run may take."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from trainwell.core.choice import Choice
from trainwell.core.machine import BF16_MULTIPLY_ADDS, has_fast_bfloat16
from trainwell.core.recipe import Recipe, decided, training_seconds
from trainwell.data.prepare import Prepared
from trainwell.models.building import build_network

PASSES = 3  # a backward pass costs two forward passes
# Pixels that the machine is timed with at most, a whole batch where it fits: more would cost memory and seconds, while
# a few large images keep it as busy as many small ones. Fewer than a batch run from nearer memory, up to twice as fast.
TIMED_PIXELS, LEAST_TIMED = 64 * 64 * 64, 2
TIMED_STEPS = 3  # the quickest counts: the first one also pays for start-up, and the machine may be busy


@dataclass(frozen=True)
class Meant:
    """The work that is meant for a run for which no time was named.

    Attributes:
        multiply_adds: of forward and backward passes over all samples and epochs.
        words: what that is in time.
    """

    multiply_adds: float
    words: str


# By the class of the device, not its speed, so that the choice is the same on all machines of a class. For the CPU it
# is as long as people wait for a first result; for CUDA it is a round number some 60 times that, not measured yet.
MEANT = {
    "cpu": Meant(1.6e13, "about two minutes on two cores"),
    "cuda": Meant(1e15, "a few minutes on one GPU (not measured yet)"),
}


def work_meant(recipe: Recipe) -> Meant:
    """Return the work meant for a run on the recipe's device, which is chosen."""
    return MEANT[torch.device(recipe.machine.device).type]


class Work:
    """The work that a run may take: multiply-adds, by rule, or by the clock where the user named minutes.

    Args:
        prepared: the data.
        recipe: its device, precision, batch size and minutes count.
        elapsed: seconds since the run began.
        cost: of a step of the optimizer, in gradients.
    """

    def __init__(self, prepared: Prepared, recipe: Recipe, elapsed: Callable[[], float], *, cost: float = 1.0) -> None:
        self.prepared, self.recipe, self.elapsed, self.cost = prepared, recipe, elapsed, cost
        self._rate: float | None = None

    @property
    def words(self) -> str:
        """What the work is, in words."""
        minutes = self.recipe.length.minutes
        if minutes is not None:
            return f"{minutes:g} minutes"
        return f"{work_meant(self.recipe).multiply_adds / 1e12:,.0f} trillion multiply-adds"

    def epochs(self, choice: Choice) -> float:
        """Return how many passes over the train split a network can make."""
        model = self._network(choice)
        one = self._multiply_adds(model) * PASSES * len(self.prepared.stores.train) * self.cost
        if self.recipe.length.minutes is None:
            return work_meant(self.recipe).multiply_adds / one
        left = training_seconds(self.recipe.length.minutes, self.elapsed())
        return left * self._work_a_second(model) / one

    def _network(self, choice: Choice) -> nn.Module:
        shape, classes = self.prepared.input_shape, len(self.prepared.classes)
        return build_network(choice, shape, classes, seed=self.recipe.seed, files={})

    def _multiply_adds(self, model: nn.Module) -> float:
        """Count those of one forward pass of one sample."""
        inputs = torch.zeros(2, *self.prepared.input_shape)
        model.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(inputs)
        return float(counter.get_total_flops()) / 2 / len(inputs)

    def _work_a_second(self, model: nn.Module) -> float:
        """Time a few training steps of a network; the first one asked about stands for all."""
        if self._rate is None:
            device = torch.device(self.recipe.machine.device)
            one = self._multiply_adds(model)
            batch, shape = decided(self.recipe.batch.size), self.prepared.input_shape
            is_lower = has_fast_bfloat16(device) and one * batch >= BF16_MULTIPLY_ADDS
            size = min(batch, max(LEAST_TIMED, TIMED_PIXELS // math.prod(shape[1:])))
            model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
            inputs = torch.zeros(size, *shape, device=device).contiguous(memory_format=torch.channels_last)
            labels = torch.zeros(size, dtype=torch.int64, device=device)
            seconds = []
            for _ in range(TIMED_STEPS):
                start = time.perf_counter()
                with torch.autocast(device.type, torch.bfloat16, enabled=is_lower):
                    scores = model(inputs)
                loss = functional.cross_entropy(scores.float(), labels)
                loss.backward()
                loss.item()  # waits for the device
                seconds.append(time.perf_counter() - start)
            self._rate = one * size * PASSES / min(seconds)
        return self._rate
