"""Sets of points in the plane: classes that no straight line can tell apart, and numbers to be predicted."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Le

from trainwell.core.chance import Chance
from trainwell.core.shelves import sources
from trainwell.core.units import Amount, Seed, Unit
from trainwell.data.samples import Samples

Kind = Literal["moons", "circles", "xor", "spirals", "ring", "modes", "plane", "gauss"]
Points = Annotated[int, Ge(8), Le(10_000_000), Unit("points")]
Draw = Callable[[int, np.random.Generator], np.ndarray]
Number = Callable[[np.ndarray], np.ndarray]


@sources.card()
def points(*, kind: Kind = "moons", samples: Points = 1000, noise: Amount = 0.1, seed: Seed = 0) -> Samples:
    """Points in the plane, in two classes (moons, circles, xor, spirals, ring, modes) or with a number (plane, gauss).

    There are two float features. Half of the points are of each class (one more of class 0 where `samples` is odd).
    Class and number are those of the clean point; then Gaussian noise moves it.

    Args:
        kind: moons, two half circles that reach into each other; circles, of radius 1/2 and 1; xor, opposite
            quadrants of the square [-1, 1]^2; spirals, two arms of a turn and a half; ring, 1 <= ||x|| <= 2
            against the inside and the outside to radius 3; modes, three discs of radius 1/2 against the rest of
            the square [-2, 2]^2; plane, the number (x + y) / 10 in the square [-6, 6]^2; gauss, a number from -1 to 1
            in that square, six cones of height 1 and radius 2 that point up and down in turn, 0 elsewhere.
        samples: how many points.
        noise: standard deviation of the Gaussian that moves each point, in units of the plane.
        seed: of the draw; the seed of a run does not change its data.
    """
    generator = Chance(seed, "points").generator(kind)
    if kind in _NUMBERS:
        return _with_numbers(_NUMBERS[kind], samples, noise, generator)
    counts = samples - samples // 2, samples // 2
    clean = np.concatenate([draw(count, generator) for draw, count in zip(_KINDS[kind], counts, strict=True)])
    moved = clean + noise * generator.standard_normal(clean.shape)
    labels = np.repeat(np.arange(2), counts)
    order = generator.permutation(samples)
    return Samples(
        classes=_CLASSES.get(kind, ("0", "1")),
        labels=labels[order],
        splits=np.full(samples, "", dtype="<U5"),
        kind="features",
        arrays=torch.from_numpy(moved[order].astype(np.float32)),  # (N, 2)
    )


def _with_numbers(number: Number, samples: int, noise: float, generator: np.random.Generator) -> Samples:
    clean = generator.uniform(-_HALF_SIDE, _HALF_SIDE, (samples, 2))
    moved = clean + noise * generator.standard_normal(clean.shape)
    return Samples(
        classes=("number",),
        labels=number(clean)[:, None],
        splits=np.full(samples, "", dtype="<U5"),
        kind="features",
        arrays=torch.from_numpy(moved.astype(np.float32)),
        task="numbers",
        reason="each point has a number",
    )


def _plane(xy: np.ndarray) -> np.ndarray:
    return np.asarray(xy.sum(1) / 10)


def _cones(xy: np.ndarray) -> np.ndarray:
    """The six of the TensorFlow playground: of each point the cone that is highest or deepest there."""
    heights = (1 - np.linalg.norm(xy[:, None] - _TOPS, axis=2) / 2).clip(0)  # (N, 6)
    best = heights.argmax(1)
    return np.asarray(heights.max(1) * _SIGNS[best])


def _polar(radius: Any, angle: Any) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)  # (N,), (N,) -> (N, 2)


def _turn(count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0, 2 * np.pi, count)


def _annulus(count: int, generator: np.random.Generator, inner: float, outer: float) -> np.ndarray:
    """Uniform by area: the squared radius is uniform."""
    return _polar(np.sqrt(generator.uniform(inner**2, outer**2, count)), _turn(count, generator))


def _upper_moon(count: int, generator: np.random.Generator) -> np.ndarray:
    return _polar(1.0, generator.uniform(0, np.pi, count))


def _lower_moon(count: int, generator: np.random.Generator) -> np.ndarray:
    return np.asarray([1.0, 0.5] - _upper_moon(count, generator))


def _circle(radius: float) -> Draw:
    return lambda count, generator: _polar(radius, _turn(count, generator))


def _quadrants(sign: int) -> Draw:
    def draw(count: int, generator: np.random.Generator) -> np.ndarray:
        xy = generator.uniform(0, 1, (count, 2))
        return np.asarray(xy * generator.choice([-1, 1], (count, 1)) * [1, sign])

    return draw


def _spiral(phase: float) -> Draw:
    def draw(count: int, generator: np.random.Generator) -> np.ndarray:
        along = np.sqrt(generator.uniform(0.01, 1, count))  # evenly along the arm, whose radius grows with the angle
        return _polar(3 * along, 3 * np.pi * along + phase)

    return draw


def _off_ring(count: int, generator: np.random.Generator) -> np.ndarray:
    inside = generator.uniform(size=count) < 1 / (1 + 9 - 4)  # by area: the disc of radius 1 and the band from 2 to 3
    outside = _annulus(count, generator, 2, 3)
    return np.where(inside[:, None], _annulus(count, generator, 0, 1), outside)


_CENTRES = _polar(1.2, np.pi * np.array([1 / 2, 7 / 6, 11 / 6]))
_MODE_RADIUS = 0.5


def _in_modes(count: int, generator: np.random.Generator) -> np.ndarray:
    return np.asarray(_CENTRES[generator.integers(0, 3, count)] + _annulus(count, generator, 0, _MODE_RADIUS))


def _off_modes(count: int, generator: np.random.Generator) -> np.ndarray:
    kept = np.empty((0, 2))
    while len(kept) < count:
        xy = generator.uniform(-2, 2, (2 * count, 2))
        distance = np.linalg.norm(xy[:, None] - _CENTRES, axis=2)  # (N, 3)
        kept = np.concatenate([kept, xy[(distance > _MODE_RADIUS).all(1)]])
    return kept[:count]


_KINDS: dict[str, tuple[Draw, Draw]] = {
    "moons": (_upper_moon, _lower_moon),
    "circles": (_circle(1.0), _circle(0.5)),
    "xor": (_quadrants(1), _quadrants(-1)),
    "spirals": (_spiral(0.0), _spiral(np.pi)),
    "ring": (_off_ring, lambda count, generator: _annulus(count, generator, 1, 2)),
    "modes": (_off_modes, _in_modes),
}
_CLASSES = {"ring": ("elsewhere", "ring"), "modes": ("elsewhere", "mode")}
_HALF_SIDE = 6.0
_TOPS = np.array([(-4, 2.5), (0, 2.5), (4, 2.5), (-4, -2.5), (0, -2.5), (4, -2.5)])
_SIGNS = np.array([1, -1, 1, -1, 1, -1])
_NUMBERS: dict[str, Number] = {"plane": _plane, "gauss": _cones}
