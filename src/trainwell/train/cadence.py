"""At which steps the probes look, as a function of the step alone, and how often they can afford to.

They look at steps 0, 1, 2, 4, 8, … and at every k-th. k is chosen once, before step 0, from an estimate
of what a look costs beside a step: an estimate that follows from the network's size and not from a
clock, so that the same recipe always looks at the same steps.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainwell.core.machine import AutoChoice

FIELD = "machine.probe_every"
MOST_BETWEEN = 128  # steps between two looks where they cost nothing: as often as losses are drained
LEAST_LOOKS = 20  # evenly spread over a short run, where they are cheap enough
PLANNED_SHARE = 1 / 3  # of the budget, for looks in the long run: the estimate may be wrong by a factor of three
# Measured on two cores of an EPYC: the fixed work of a step, for the loop and for each layer; how often it goes over
# the weights; multiply-adds a second of one thread, or of a GPU, and bytes a second. The rates are high ones, which
# makes looks at small networks count for more.
STEP_SECONDS, STEP_LAYER_SECONDS, STEP_PASSES = 1e-4, 1e-4, 8
MULTIPLY_ADDS = {"cpu": 4e10, "cuda": 2e13}
BYTES = {"cpu": 1e10, "cuda": 1e12}


@dataclass(frozen=True)
class Work:
    """What a step of a network is made of.

    Attributes:
        multiply_adds: of the forward pass of a batch.
        layers: that own weights.
        weights: numbers that are trained.
        threads: that compute, on a CPU.
        device: `cpu`, `cuda`, …
    """

    multiply_adds: float
    layers: int
    weights: int
    threads: int
    device: str

    @property
    def seconds(self) -> float:
        """What a step takes: three times the arithmetic of its forward pass, and the fixed work of each layer."""
        is_cpu = self.device == "cpu"
        rate = MULTIPLY_ADDS["cpu"] * self.threads if is_cpu else MULTIPLY_ADDS["cuda"]
        fixed = STEP_SECONDS + STEP_LAYER_SECONDS * self.layers
        return fixed + STEP_PASSES * self.seconds_of_a_pass + 3 * self.multiply_adds / rate

    @property
    def seconds_of_a_pass(self) -> float:
        """What reading, or writing, all weights takes."""
        return 4 * self.weights / BYTES["cpu" if self.device == "cpu" else "cuda"]


def is_looked_at(step: int, every: int) -> bool:
    """Whether the probes look at a step: 0, 1, 2, 4, 8, … and every `every` steps.

    >>> [step for step in range(20) if is_looked_at(step, 6)]
    [0, 1, 2, 4, 6, 8, 12, 16, 18]
    """
    return step % every == 0 or step & (step - 1) == 0


def count_looks(steps: int, every: int) -> int:
    """Return at how many of a run's steps the probes look.

    >>> count_looks(20, 6), count_looks(1, 128), count_looks(0, 128)
    (9, 1, 0)
    """
    powers = max(steps - 1, 0).bit_length()  # 1, 2, 4, … below `steps`
    both = (max(steps - 1, 0) // every).bit_length() if every & (every - 1) == 0 else 0
    return powers + -(-steps // every) - both


def cost_of_look(traits: Iterable[Mapping[str, Any]], work: Work) -> float:
    """Return what a look of all probes costs, in steps.

    Args:
        traits: of the probes' cards: `cost` in steps; beside it `layer_seconds` of fixed work for each layer, and
            `weight_passes`, how often it goes over the weights.
        work: what a step is made of.

    >>> cost_of_look([{"cost": 0.5}], Work(1e6, 3, 1_000, 1, "cpu"))
    0.5
    """
    told = list(traits)
    seconds = sum(each.get("layer_seconds", 0.0) for each in told) * (work.layers + 1)
    seconds += sum(each.get("weight_passes", 0.0) for each in told) * work.seconds_of_a_pass
    return float(sum(each.get("cost", 1.0) for each in told) + seconds / work.seconds)


def choose_interval(cost: float, *, steps: int, budget: float) -> AutoChoice:
    """Choose k, so that all looks of a run stay below a share of its time.

    Args:
        cost: of one look, in steps.
        steps: of the run.
        budget: the share of training time that looks may take.

    >>> choice = choose_interval(0.9, steps=1_000, budget=0.03)
    >>> choice.value, choice.reason
    (90, 'a look costs about 0.9 steps: 22 looks take about 2 % of 1,000 steps, 3 % are allowed')
    """
    if cost == 0:
        return AutoChoice(FIELD, MOST_BETWEEN, "there is nothing to look at")
    left = budget * steps / cost - count_looks(steps, steps)
    every = min(MOST_BETWEEN, max(1, steps // LEAST_LOOKS))
    every = max(every, math.ceil(cost / max(budget * PLANNED_SHARE, 1e-9) - 1e-6))
    every = min(steps, max(every, math.ceil(steps / left) if left > 0 else steps))
    looks = count_looks(steps, every)
    words = f"a look costs about {cost:.2g} steps: {looks} looks take about {100 * cost * looks / steps:.2g} % of"
    allowed = f"{100 * budget:g} % are allowed"
    if left <= 0:
        allowed += ", so that no more than those at steps 0, 1, 2, 4, 8, … are taken"
    return AutoChoice(FIELD, every, f"{words} {steps:,} steps, {allowed}")
