"""The physical view: the optimizer as a body that rolls, its gradient a force, its momentum what friction leaves.

Momentum's v' = a v - lr g loses 1 - a of its velocity a step, as in a syrup, and is pushed by lr g. Where the force
stays the same, friction and push come to be equal at the terminal velocity -lr / (1 - a) g.

Source: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Qian 1999, "On the momentum
term in gradient descent learning algorithms".
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainwell.core.choice import Choice
from trainwell.core.shelves import optimizers
from trainwell.lab.landscapes.landscape import landscape
from trainwell.lab.landscapes.paths import Path, ignores_scale, on_landscape

Floats = NDArray[np.floating[Any]]
LONG = 3_000  # steps at most; a memory of 0.99 has forgotten its start to 1e-13 by then
STILL, PATIENCE = 1e-10, 10  # a velocity that changes by less in each of so many steps is the terminal one
LINEAR = 1e-6


@dataclass(frozen=True, eq=False)
class Motion:
    """How a path moves, step by step.

    Attributes:
        velocities: (T, 2) how far each step moved.
        speeds: (T,) their lengths.
        terminal: (T, 2) the velocity that the gradient of the step would lead to if it stayed for ever; None where
            it is not proportional to the gradient.
        mobility: the terminal velocity under a gradient of 1, without its sign; None likewise.
    """

    velocities: Floats
    speeds: Floats
    terminal: Floats | None
    mobility: float | None

    def to_plain(self) -> dict[str, Any]:
        """Return everything as plain data.

        >>> from trainwell.lab.landscapes.paths import path
        >>> motion(path("slope", "sgd:lr=0.5,momentum=0,nesterov=false", steps=1)).to_plain()["terminal"]
        [[-0.5, 0.0]]
        """
        return {
            "speeds": [float(f"{speed:.8g}") for speed in self.speeds],
            "terminal": None
            if self.terminal is None
            else [[float(f"{v:.8g}") for v in row] for row in self.terminal + 0.0],
            "mobility": self.mobility,
        }


def motion(walked: Path) -> Motion:
    """Return how a path moves, beside the terminal velocity that each of its gradients would lead to.

    Its optimizer walks on two slopes for it, so no optimizer need say of which form its momentum is.
    """
    mobility = mobility_of(walked.optimizer)
    terminal = None if mobility is None else -mobility * walked.gradients
    return Motion(walked.velocities, walked.speeds, terminal, mobility)


def terminal_velocity(optimizer: str | Choice, *, gradient: float = 1.0) -> float:
    """Return the velocity at which an optimizer stays under a constant gradient, or that of step `LONG`.

    >>> round(terminal_velocity("sgd:lr=0.01,momentum=0.9,nesterov=false", gradient=3.0), 9)
    -0.3
    """
    ground = landscape(f"slope:gradient={gradient}")
    chosen = on_landscape(optimizer, ground)
    point = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    walker = optimizers.build(chosen.name, chosen.options, params=[point])
    velocity, still = 0.0, 0
    for _ in range(LONG):
        before = point[0, 0].item()
        point.grad = ground.gradient(point.detach())
        walker.step()
        last, velocity = velocity, point[0, 0].item() - before
        still = still + 1 if abs(velocity - last) <= STILL * abs(velocity) else 0
        if still == PATIENCE:
            break
    return velocity


@functools.lru_cache(maxsize=64)
def mobility_of(optimizer: str) -> float | None:
    """Return the terminal velocity under a gradient of 1, without its sign; None where it does not grow with it.

    >>> mobility_of("adamw:lr=0.1") is None
    True
    """
    chosen = Choice.parse(optimizer)
    if optimizers[chosen.name].traits.get("needs_closure") or ignores_scale(chosen):  # no slope has a curvature
        return None
    once, twice = (-terminal_velocity(chosen, gradient=gradient) for gradient in (1.0, 2.0))
    return once if once > 0 and abs(twice - 2 * once) <= LINEAR * once else None
