"""What a drawing of any graph needs: boxes and arrows with their words, and nothing of how they were computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["input", "operation", "output"]


@dataclass(frozen=True)
class Box:
    """A node as it is drawn.

    Attributes:
        key: unique in the sketch.
        title: what stands in it.
        kind: which colour it gets.
        above: its value, in words or digits.
        below: its gradient, in words or digits; empty where there is none.
        detail: what a reader learns who points at it.
    """

    key: str
    title: str
    kind: Kind
    above: str
    below: str
    detail: str


@dataclass(frozen=True)
class Arrow:
    """An edge as it is drawn: from a box to a later one, with the local gradient as its label where there is one."""

    source: str
    target: str
    label: str


@dataclass(frozen=True)
class Sketch:
    """A graph as it is drawn: boxes in an order in which every arrow points forward.

    Attributes:
        title: what it is the graph of.
        legend: what stands above the boxes, below them, and on the arrows.
        boxes: the nodes.
        arrows: the edges.
        notes: what was left out and why, and what else must be known.
    """

    title: str
    legend: tuple[str, str, str]
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    notes: Sequence[str] = ()


def number(value: float) -> str:
    """Write a number with four digits, as drawings and tables show it.

    >>> number(-12.0), number(0.7310585786), number(-0.0)
    ('-12', '0.7311', '0')
    """
    return f"{value + 0.0:.4g}"  # which turns -0 into 0
