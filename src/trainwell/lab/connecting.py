"""What lies between two trained networks: the straight line, a curve that is trained to stay low, and a plane.

Weights are lists of tensors, one a parameter, in the network's order. Batch norm takes its statistics anew at each
point, from all training images: those of neither end fit what lies between.

Source: Garipov et al. 2018, arXiv:1802.10026, section 3 (the curve); Gotmare et al. 2019, arXiv:1810.13243, section 3
(the plane).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from trainwell.core.chance import Chance, derive
from trainwell.lab.plain_loop import Samples, accuracy, batches

Weights: TypeAlias = Sequence[Tensor]

MOMENTUM = 0.9


def weights_of(network: nn.Module) -> list[Tensor]:
    """Return a copy of a network's weights."""
    return [parameter.detach().clone() for parameter in network.parameters()]


def straight(first: Weights, last: Weights, t: float) -> list[Tensor]:
    """Return the point (1 - t) w1 + t w2."""
    return [(1 - t) * one + t * two for one, two in zip(first, last, strict=True)]


def bezier(first: Weights, middle: Weights, last: Weights, t: float) -> list[Tensor]:
    """Return the point (1 - t)^2 w1 + 2 t (1 - t) theta + t^2 w2 of a curve that theta bends.

    >>> [float(bezier([torch.tensor(0.0)], [torch.tensor(3.0)], [torch.tensor(1.0)], t)[0]) for t in (0.0, 0.5, 1.0)]
    [0.0, 1.75, 1.0]
    """
    parts = zip(first, middle, last, strict=True)
    return [(1 - t) ** 2 * one + 2 * t * (1 - t) * bent + t * t * two for one, bent, two in parts]


def look_at(network: nn.Module, weights: Weights, samples: Samples) -> tuple[float, float]:
    """Return the loss on all training images and the accuracy on those held out, at a point.

    Batch norm takes its statistics from all training images, in one batch. The network is left as it was.
    """
    network = copy.deepcopy(network).train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), weights, strict=True):
            parameter.copy_(values)
        loss = float(cross_entropy(network(samples.inputs), samples.labels))
    return loss, accuracy(network, samples.held_out, samples.held_out_labels)


def bend(
    network: nn.Module,
    ends: tuple[Weights, Weights],
    samples: Samples,
    *,
    steps: int,
    rate: float,
    size: int,
    seed: int,
) -> list[Tensor]:
    """Return the theta of a Bezier curve whose mean loss is low, from the middle of the line.

    Each step descends the loss of a batch at a t drawn evenly from [0, 1]; the rate falls to 0 along a line. Batch norm
    uses the statistics of the batch.

    Args:
        network: gives the structure; it is left as it was, but for running statistics.
        ends: w1 and w2, which stay.
        samples: to train on.
        steps: of descent with momentum.
        rate: the first one.
        size: of a batch.
        seed: of the order and of t.
    """
    first, last = ends
    middle = [point.requires_grad_() for point in straight(first, last, 0.5)]
    names = [name for name, _ in network.named_parameters()]
    optimizer = torch.optim.SGD(middle, lr=rate, momentum=MOMENTUM)
    places = Chance(seed, "curve").uniform(0, torch.arange(steps)).flatten().tolist()
    network.train()
    for step, (t, (inputs, labels)) in enumerate(
        zip(places, batches(samples, size, derive(seed, "curve")), strict=False)
    ):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        point = dict(zip(names, bezier(first, middle, last, t), strict=True))
        cross_entropy(functional_call(network, point, (inputs,)), labels).backward()
        optimizer.step()
    return [point.detach() for point in middle]


@dataclass(frozen=True)
class Plane:
    """The plane through three points, with orthonormal axes: the first points to the second point."""

    origin: Tensor
    axes: tuple[Tensor, Tensor]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def through(cls, first: Weights, second: Weights, third: Weights) -> "Plane":
        """Return the plane; the third point lies above the line through the others."""
        origin = _flat(first)
        along = _flat(second) - origin
        along /= along.norm()
        up = _flat(third) - origin
        up -= (up @ along) * along
        return cls(origin, (along, up / up.norm()), tuple(part.shape for part in first))

    def place_of(self, weights: Weights) -> tuple[float, float]:
        """Return the coordinates of the point of the plane that is nearest to some weights."""
        from_origin = _flat(weights) - self.origin
        return float(from_origin @ self.axes[0]), float(from_origin @ self.axes[1])

    def point(self, x: float, y: float) -> list[Tensor]:
        """Return the weights at coordinates."""
        flat = self.origin + x * self.axes[0] + y * self.axes[1]
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _flat(weights: Weights) -> Tensor:
    return torch.cat([part.flatten() for part in weights])
