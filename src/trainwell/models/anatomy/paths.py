"""Residual units found in what a network did, and how long the paths through them are.

A residual unit is an addition of two values of which one, the skip, is an earlier value itself, or lies at most one
convolution or dense layer behind it (with norms, pooling, padding and slices in between), while the other, the
branch, comes from the same earlier value through more layers than the skip. With n units there are 2^n paths; a path
that takes each branch or skip with equal chance goes through Binomial(n, 1/2) branches.

Source: Veit, Wilber & Belongie 2016, "Residual networks behave like ensembles of relatively shallow networks",
arXiv:1605.06431.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trainwell.models.anatomy.steps import Step

MOST_ON_SKIP = 1  # layers with weights


@dataclass(frozen=True)
class Unit:
    """A residual unit, by steps: the addition, where it forks (-1: at the input), and what lies on its skip."""

    addition: int
    fork: int
    skip: tuple[int, ...]


@dataclass(frozen=True)
class PathLengths:
    """How many branches a path through n residual units takes.

    >>> lengths = PathLengths(54)
    >>> round(lengths.between(19, 35), 4), round(lengths.between(5, 17), 6), lengths.central(0.95)
    (0.9802, 0.004537, (20, 34))
    """

    units: int

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of 0, 1, ..., n branches."""
        return tuple(float(Fraction(math.comb(self.units, k), 2**self.units)) for k in range(self.units + 1))

    def between(self, low: int, high: int) -> float:
        """Return the share of paths with `low` to `high` branches, both included."""
        paths: int = sum(math.comb(self.units, k) for k in range(max(low, 0), min(high, self.units) + 1))
        return float(Fraction(paths, 2**self.units))

    def central(self, share: float) -> tuple[int, int]:
        """Return the narrowest lengths around n / 2 that at least this share of paths has."""
        low, high = self.units // 2, -(-self.units // 2)
        while self.between(low, high) < share:
            low, high = low - 1, high + 1
        return low, high

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        low, high = self.central(0.95)
        return {"units": self.units, "probabilities": list(self.probabilities), "central_95": [low, high]}


def residual_units(steps: Sequence[Step], *, inside: Container[int] = ()) -> list[Unit]:
    """Return the residual units among the steps, in order.

    Args:
        steps: what a network did.
        inside: calls whose additions are their own affair: gates of recurrent layers.
    """
    units = []
    for place, step in enumerate(steps):
        if step.name == "add" and step.origin == "input" and len(step.sources) == 2 and step.call not in inside:
            found = [unit for unit in _both_ways(steps, place) if unit is not None]
            if found:
                units.append(min(found, key=lambda unit: (_weighted(steps, unit.skip), len(unit.skip))))
    return units


def _both_ways(steps: Sequence[Step], place: int) -> list[Unit | None]:
    one, other = steps[place].sources
    return [_unit(steps, place, one, other), _unit(steps, place, other, one)]


def _unit(steps: Sequence[Step], place: int, skip: int, branch: int) -> Unit | None:
    """Walk back along the skip until a value from which the branch comes too."""
    walked: list[int] = []
    here = skip
    while True:
        layers = _layers_between(steps, here, branch)
        if layers is not None:
            return Unit(place, here, tuple(walked)) if layers > _weighted(steps, walked) else None
        if here < 0 or len(steps[here].sources) != 1:
            return None
        walked.append(here)
        if _weighted(steps, walked) > MOST_ON_SKIP:
            return None
        here = steps[here].sources[0]


def _layers_between(steps: Sequence[Step], fork: int, end: int) -> int | None:
    """Return how many layers with weights lie between a value and a later one; None where it does not come from it."""
    reached, waiting, is_found, layers = set(), [end], False, 0
    while waiting:
        here = waiting.pop()
        if here == fork:
            is_found = True
        elif here > fork and here not in reached:
            reached.add(here)
            layers += _is_layer(steps[here])
            waiting += steps[here].sources
    return layers if is_found and reached else None


def _weighted(steps: Sequence[Step], places: Sequence[int]) -> int:
    return sum(_is_layer(steps[place]) for place in places)


def _is_layer(step: Step) -> bool:
    return step.is_product and bool(step.weights)
