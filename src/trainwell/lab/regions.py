"""The activation regions of a ReLU network on a square of the plane, counted exactly and kept as polygons.

An activation region is a set of inputs on which each neuron is either active (its sum is positive) or not. Inside
a region of the first l - 1 layers the sums of layer l are affine in the input, so each neuron of the layer cuts it by
at most one straight line: the polygons are split line by line, layer by layer.

An affine function is known by its values at the vertices. Those values are carried along and interpolated where an
edge is cut, so no region ever needs a matrix of its own.

Source: Hanin and Rolnick 2019, "Deep ReLU networks have surprisingly few activation patterns", arXiv:1906.00904.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainwell.errors import ShapeError

Floats = NDArray[np.floating[Any]]
Layer = tuple[Floats, Floats]

# Relative to a neuron's largest sum on the piece: nearer to its line than this, a vertex lies on it. Float64 sums over
# a few hundred terms err by 1e-14; slivers thinner than 1e-10 of their region are lost.
ON_THE_LINE = 1e-10


@dataclass(frozen=True)
class Region:
    """A convex polygon on which the same neurons are active.

    Attributes:
        corners: (V, 2) in order around it.
        pattern: a bool for each neuron, first layer first: whether it is active.
    """

    corners: Floats
    pattern: tuple[bool, ...]

    @property
    def area(self) -> float:
        """The area, by the shoelace formula."""
        x, y = self.corners.T
        return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def regions_of(layers: Sequence[Layer], *, half_width: float) -> list[Region]:
    """Return the activation regions of a ReLU network inside the square [-half_width, half_width]^2.

    Their number is a count of *activation* regions: two of them may share one linear map, so it can exceed the
    number of linear pieces. It depends on the square, which must hold the crossings of the lines to see them.

    Args:
        layers: for each hidden layer the weight (width, width before) and the bias (width,); the first takes the plane.
        half_width: half the side of the square.

    Raises:
        ShapeError: the layers do not fit onto one another, or the first does not take two inputs.

    One neuron halves the square; three lines in general position make 1 + 3 + 3 regions:

    >>> lines = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> len(regions_of([(lines, np.array([0.0, 0.0, -0.5]))], half_width=1))
    7
    """
    _check(layers)
    corners = half_width * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    found: list[tuple[Floats, Floats, tuple[bool, ...]]] = [(corners, corners, ())]  # corners, inputs there, pattern
    for weight, bias in layers:
        found = [
            (piece[:, :2], np.where(active, piece[:, 2:], 0.0), (*pattern, *active.tolist()))
            for corners, inputs, pattern in found
            for piece, active in _split(np.hstack([corners, inputs @ weight.T + bias]))
        ]
    return [Region(corners, pattern) for corners, _, pattern in found]


def _check(layers: Sequence[Layer]) -> None:
    width = 2
    for number, (weight, bias) in enumerate(layers, 1):
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"layer {number} must have weight (width, {width}) and bias (width,), got {weight.shape} and "
                f"{bias.shape}: the first layer takes the 2 coordinates of the plane, each other the layer before it"
            )
        width = len(bias)


def _split(piece: Floats) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Split a convex polygon along the zero lines of affine functions.

    Args:
        piece: (V, 2 + width) corners in order, each with the values of the functions there.

    Returns:
        The pieces, likewise, each with whether the functions are positive inside it.
    """
    near = ON_THE_LINE * np.abs(piece[:, 2:]).max(axis=0)
    done, waiting = [], [piece]
    while waiting:
        piece = waiting.pop()
        values = piece[:, 2:]
        cuts = np.flatnonzero((values > near).any(axis=0) & (values < -near).any(axis=0))
        if len(cuts):
            waiting += _halves(piece, int(cuts[0]) + 2, float(near[cuts[0]]))
        else:
            done.append((piece, values.max(axis=0) > near))
    return done


def _halves(piece: Floats, column: int, near: float) -> tuple[Floats, Floats]:
    """Cut a convex polygon where one column changes its sign; the corners of the cut go to both sides."""
    value = np.where(np.abs(piece[:, column]) <= near, 0.0, piece[:, column])
    above, below = [], []
    for here, there, v, w in zip(piece, np.roll(piece, -1, axis=0), value, np.roll(value, -1), strict=True):
        if v >= 0:
            above.append(here)
        if v <= 0:
            below.append(here)
        if v * w < 0:
            corner = here + v / (v - w) * (there - here)
            corner[column] = 0.0
            above.append(corner)
            below.append(corner)
    return np.array(above), np.array(below)
