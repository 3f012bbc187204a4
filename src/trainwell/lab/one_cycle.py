"""A network of the shelf trained on few images, its rate rising and falling once: what experiments compare nets by.

Source: Smith and Topin 2018, arXiv:1708.07120 (the rate).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainwell.core.shelves import models
from trainwell.lab.plain_loop import Samples, accuracy, descend, seeded
from trainwell.schedules import one_cycle

CLASSES = 10


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network is trained, with momentum and weight decay.

    Attributes:
        epochs: passes over the images.
        rate: the highest.
        batch: images in a step; what is left over of an epoch is left out.
        momentum: Nesterov's.
        decay: of all weights.
    """

    epochs: int
    rate: float = 0.1
    batch: int = 50
    momentum: float = 0.9
    decay: float = 5e-4


@dataclass(frozen=True)
class Outcome:
    """What came of a network.

    Attributes:
        losses: (T,) of each step, as it was before the step; ln 10 where it was not finite.
        error: share of the held-out images that it gets wrong.
        training_error: of those that it was trained on, in evaluation mode.
    """

    losses: NDArray[np.float64]
    error: float
    training_error: float

    def by_epoch(self, epochs: int) -> list[float]:
        """Return the mean loss of each epoch."""
        return [float(part.mean()) for part in np.split(self.losses, epochs)]


def network_of(name: str, options: Mapping[str, Any], samples: Samples, *, seed: int) -> nn.Module:
    """Return a network of the shelf for these images; its first weights are a function of the seed."""
    with seeded(seed, "weights"):
        built: nn.Module = models.build(name, options, in_channels=samples.inputs.shape[1], num_classes=CLASSES)
    return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # a third faster


def train_once(network: nn.Module, samples: Samples, plan: Plan, *, seed: int) -> Outcome:
    """Train a network, in place, and look at it; two networks of one seed see the same images in the same order."""
    steps_per_epoch = len(samples.labels) // plan.batch
    total = plan.epochs * steps_per_epoch
    optimizer = torch.optim.SGD(
        network.parameters(), lr=plan.rate, momentum=plan.momentum, nesterov=True, weight_decay=plan.decay
    )
    share = one_cycle(total, steps_per_epoch)
    descent = descend(network, samples, optimizer, batch_size=plan.batch, seed=seed)
    losses = np.empty(total)
    for step in range(total):
        optimizer.param_groups[0]["lr"] = plan.rate * share(step)
        losses[step] = next(descent)
    return Outcome(
        losses=np.where(np.isfinite(losses), losses, math.log(CLASSES)),
        error=1 - accuracy(network, samples.held_out, samples.held_out_labels),
        training_error=1 - accuracy(network, samples.inputs, samples.labels),
    )
