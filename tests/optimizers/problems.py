"""Four small problems in float64, with exact gradients, for comparing an optimizer with a rewrite of its formulas."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Problem:
    """A loss of one vector, and where to start."""

    name: str
    start: Tensor
    loss: Callable[[Tensor], Tensor]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient at x."""
        leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.loss(leaf), leaf)
        return gradient.numpy()

    def value(self, x: np.ndarray) -> float:
        """Return the loss at x."""
        return self.loss(torch.tensor(x)).item()


@functools.cache
def _points(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(30) % 3
    return torch.randn(30, 2, generator=generator, dtype=torch.float64) + 2 * functional.one_hot(labels, 3)[
        :, :2
    ], labels


def _bowl(x: Tensor) -> Tensor:
    return (torch.tensor([0.05, 0.5, 5.0], dtype=torch.float64) * (x - 1) ** 2).sum() / 2


def _valley(x: Tensor) -> Tensor:
    return ((1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2) / 20


def _regression(x: Tensor) -> Tensor:
    points, labels = _points(0)
    return functional.cross_entropy(points @ x[:6].view(2, 3) + x[6:], labels)


def _tanh_net(x: Tensor) -> Tensor:
    points, labels = _points(1)
    hidden = (points @ x[:8].view(2, 4) + x[8:12]).tanh()
    return functional.cross_entropy(hidden @ x[12:].view(4, 3), labels)


PROBLEMS = (
    Problem("bowl", torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64), _bowl),
    Problem("valley", torch.tensor([-1.0, 1.0], dtype=torch.float64), _valley),
    Problem("regression", torch.zeros(9, dtype=torch.float64), _regression),
    Problem("tanh_net", torch.randn(24, generator=torch.Generator().manual_seed(2), dtype=torch.float64), _tanh_net),
)

Build = Callable[[list[Tensor]], torch.optim.Optimizer]


def path(problem: Problem, build: Build, steps: int = 200) -> np.ndarray:
    """Return where an optimizer stands after each step, (steps, P)."""
    x = problem.start.clone().requires_grad_()
    optimizer = build([x])
    visited = []
    for _ in range(steps):
        optimizer.zero_grad()
        problem.loss(x).backward()
        optimizer.step()
        visited.append(x.detach().numpy().copy())
    return np.stack(visited)


Move = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


def rewritten(problem: Problem, move: Move, steps: int = 200) -> np.ndarray:
    """Return the path of a rewrite: `move(t, x, g)` gives the next x, t counts from 1."""
    x = problem.start.numpy().copy()
    visited = []
    for t in range(1, steps + 1):
        x = move(t, x, problem.gradient(x))
        visited.append(x.copy())
    return np.stack(visited)
