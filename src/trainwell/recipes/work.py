"""How often a network can see every sample in the work, or the time, that a run may take."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from trainwell.core.choice import Choice
from trainwell.core.machine import BF16_MULTIPLY_ADDS, has_fast_bfloat16
from trainwell.core.recipe import Recipe
from trainwell.data.prepare import Prepared
from trainwell.models.building import build_network

# Multiply-adds of forward and backward passes over all samples and epochs of a run for which no time was named:
# about two minutes of two Zen cores.
DEFAULT_WORK = 1.6e13
PASSES = 3  # a backward pass costs two forward passes
USED_MINUTES = 0.85  # share of the time left that training may fill; the rest is for val, test and report
TIMED_BATCH, TIMED_STEPS = 64, 3


class Work:
    """The work that a run may take: multiply-adds, by rule, or by the clock where the user named minutes.

    Args:
        prepared: the data.
        recipe: its device, precision and minutes count.
        elapsed: seconds since the run began.
    """

    def __init__(self, prepared: Prepared, recipe: Recipe, elapsed: Callable[[], float]) -> None:
        self.prepared, self.recipe, self.elapsed = prepared, recipe, elapsed
        self._rate: float | None = None

    @property
    def words(self) -> str:
        """What the work is, in words."""
        minutes = self.recipe.length.minutes
        return f"{DEFAULT_WORK / 1e12:.2g} trillion multiply-adds" if minutes is None else f"{minutes:g} minutes"

    def epochs(self, choice: Choice) -> float:
        """Return how many passes over the train split a network can make."""
        model = self._network(choice)
        one = self._multiply_adds(model) * PASSES * len(self.prepared.stores.train)
        if self.recipe.length.minutes is None:
            return DEFAULT_WORK / one
        left = self.recipe.length.minutes * 60 * USED_MINUTES - self.elapsed()
        return max(0.0, left) * self._work_a_second(model) / one

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
            cost = self._multiply_adds(model) * TIMED_BATCH
            is_lower = has_fast_bfloat16(device) and cost >= BF16_MULTIPLY_ADDS
            model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
            inputs = torch.zeros(TIMED_BATCH, *self.prepared.input_shape, device=device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            labels = torch.zeros(TIMED_BATCH, dtype=torch.int64, device=device)
            seconds = []
            for _ in range(TIMED_STEPS):
                start = time.perf_counter()
                with torch.autocast(device.type, torch.bfloat16, enabled=is_lower):
                    scores = model(inputs)
                loss = functional.cross_entropy(scores.float(), labels)
                loss.backward()
                loss.item()  # waits for the device
                seconds.append(time.perf_counter() - start)
            self._rate = cost * PASSES / min(seconds)
        return self._rate
