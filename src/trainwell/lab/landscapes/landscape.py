"""A function of two coordinates with its exact gradient and Hessian, and what a mini-batch makes of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwell.core.catalog import Catalog
from trainwell.core.choice import Choice
from trainwell.errors import OptionInvalid

Floats = NDArray[np.floating[Any]]
Point = tuple[float, float]
GRID = 81  # points of a side, where heights are stored

landscapes = Catalog("landscape", "trainwell.lab.landscapes", member="a function of two coordinates")


@dataclass(frozen=True)
class Landscape:
    """A function of two coordinates, in float64.

    Attributes:
        value: points (..., 2) -> heights (...), differentiable.
        gradient: points (..., 2) -> (..., 2), written by hand.
        hessian: points (..., 2) -> (..., 2, 2), written by hand.
        start: where paths begin.
        minima: every local minimum; empty where there is none.
        window: lowest and highest of either coordinate that a picture shows.
        lr: a rate at which gradient descent shows what the landscape is about.
        stride: the rate for optimizers whose steps have its length, whatever the size of the gradient.
        lesson: what it teaches, in a sentence; the first line of its docstring.
        draw: (m, generator) -> the landscape of a mini-batch of m samples; None where noise is made up.
        deviation: of one sample's gradient in either coordinate, where noise is made up.
        name: as the shelf knows it, with options.
    """

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], Tensor]
    hessian: Callable[[Tensor], Tensor]
    start: Point
    minima: tuple[Point, ...]
    window: tuple[Point, Point]
    lr: float
    stride: float = 0.14
    lesson: str = ""
    draw: "Callable[[int, np.random.Generator], Landscape] | None" = None
    deviation: float = 1.0
    name: str = ""

    def minibatch(self, size: int, generator: np.random.Generator) -> "Landscape":
        """Return what the mean over a mini-batch makes of this landscape.

        Samples come with replacement. Where the landscape is a mean of samples, `size` of them are drawn; where it
        is not, the mini-batch tilts it: its gradient is off by normal noise of `deviation` / sqrt(size) in each
        coordinate, the same at every point.

        >>> bowl = landscape("ill_conditioned_bowl")
        >>> tilted = bowl.minibatch(4, np.random.default_rng(0))
        >>> off = tilted.gradient(torch.zeros(2)) - bowl.gradient(torch.zeros(2))
        >>> bool(torch.allclose(off, torch.tensor(np.random.default_rng(0).standard_normal(2) / 2)))
        True
        """
        if self.draw is not None:
            return self.draw(size, generator)
        tilt = torch.from_numpy(generator.standard_normal(2) * (self.deviation / math.sqrt(size)))
        return replace(
            self,
            value=lambda points: self.value(points) + (points * tilt).sum(-1),
            gradient=lambda points: self.gradient(points) + tilt,
        )

    def height(self, point: Point) -> float:
        """Return the height of one point."""
        return float(self.value(torch.tensor(point, dtype=torch.float64)))

    def heights(self, side: int = GRID) -> tuple[Floats, Floats, Floats]:
        """Return x (side,), y (side,) and the heights (side, side) over the window; a row has one y."""
        x, y = (torch.linspace(*ends, side, dtype=torch.float64) for ends in self.window)
        points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return x.numpy(), y.numpy(), self.value(points).numpy()

    def to_plain(self) -> dict[str, Any]:
        """Return everything that draws it as plain data, heights over the window among it."""
        x, y, z = self.heights()
        digits = 6
        return {
            "name": self.name,
            "lesson": self.lesson,
            "start": list(self.start),
            "minima": [list(point) for point in self.minima],
            "window": [list(ends) for ends in self.window],
            "lr": self.lr,
            "stride": self.stride,
            "x": x.round(digits).tolist(),
            "y": y.round(digits).tolist(),
            "heights": [[float(f"{value:.{digits}g}") for value in row] for row in z.tolist()],
        }


def landscape(choice: str | Choice) -> Landscape:
    """Return a landscape by name, with options where it has some: `ill_conditioned_bowl:steep=20`.

    Raises:
        NameUnknown: there is none of that name.
        OptionInvalid: an option is unknown, or out of its range.

    >>> landscape("ill_conditioned_bowl").height((0.0, 1.0))
    7.0
    """
    chosen = Choice.parse(choice) if isinstance(choice, str) else choice
    if not chosen.name:
        raise OptionInvalid("a landscape needs a name, such as ill_conditioned_bowl")
    card = landscapes[chosen.name]
    built = card.build(chosen.options)
    assert isinstance(built, Landscape), f"{chosen.name} builds a Landscape"
    return replace(built, name=str(chosen), lesson=card.summary)
