"""Places names beside round marks, so that no name covers a mark or another name where there is room for all.

Each name tries sides and distances in turn and takes the cheapest while the others stay, several times over. The
answer is a function of the places alone. All lengths are pixels, x to the right and y downwards.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SIDES = tuple(range(0, 360, 15))  # degrees: right, below, left, above, and between them
GAPS = (3.0, 12.0, 24.0, 38.0, 54.0)  # between a mark and its name
TIED_FROM = 10.0  # gap from which on a line ties a name to its mark
SWEEPS = 8
NEAR = 90.0  # marks that crowd each other; the most crowded are named first
ROOM = 2.0  # kept free around a name

# What a place costs: a pixel that is covered, one beyond the edge, a line that is crossed, a tie that meets another
# name or mark, a pixel of distance, and the side that is least liked.
COVERED, OUTSIDE, CROSSED, MET, FAR, TURNED = 40.0, 200.0, 28.0, 60.0, 1.0, 4.0


@dataclass(frozen=True)
class Mark:
    """A round mark and the size of its name."""

    x: float
    y: float
    radius: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A straight line."""

    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, mark: Mark) -> bool:
        """Say whether it runs through a mark."""
        across, down = self.x1 - self.x0, self.y1 - self.y0
        square = across**2 + down**2
        share = ((mark.x - self.x0) * across + (mark.y - self.y0) * down) / square if square else 0.0
        share = max(0.0, min(1.0, share))
        return math.hypot(self.x0 + share * across - mark.x, self.y0 + share * down - mark.y) < mark.radius


@dataclass(frozen=True)
class Box:
    """A name that has its place: its middle, its size, and how far it is from its mark."""

    x: float
    y: float
    width: float
    height: float
    gap: float

    def shares(self, other: "Box") -> float:
        """Return how deep two names cover each other; 0 where they do not."""
        across = (self.width + other.width) / 2 + ROOM - abs(self.x - other.x)
        down = (self.height + other.height) / 2 + ROOM - abs(self.y - other.y)
        return max(0.0, min(across, down))

    def covers(self, mark: Mark) -> float:
        """Return how deep it reaches into a mark; 0 where it does not."""
        across = max(0.0, abs(mark.x - self.x) - self.width / 2)
        down = max(0.0, abs(mark.y - self.y) - self.height / 2)
        return max(0.0, mark.radius + ROOM - math.hypot(across, down))

    def beyond(self, width: float, height: float) -> float:
        """Return how far it reaches over the edges of an area."""
        across = max(0.0, self.width / 2 - self.x) + max(0.0, self.x + self.width / 2 - width)
        return across + max(0.0, self.height / 2 - self.y) + max(0.0, self.y + self.height / 2 - height)

    def is_on(self, line: Line) -> bool:
        """Say whether a line runs through it."""
        shares = (step / 24 for step in range(25))
        return any(
            abs(line.x0 + share * (line.x1 - line.x0) - self.x) < self.width / 2
            and abs(line.y0 + share * (line.y1 - line.y0) - self.y) < self.height / 2
            for share in shares
        )

    def tie(self, mark: Mark) -> Line | None:
        """Return the line from its mark to its nearest point, where it had to go far."""
        if self.gap < TIED_FROM:
            return None
        x = min(max(mark.x, self.x - self.width / 2), self.x + self.width / 2)
        y = min(max(mark.y, self.y - self.height / 2), self.y + self.height / 2)
        return Line(mark.x, mark.y, x, y)


def place_names(marks: Sequence[Mark], width: float, height: float, lines: Sequence[Line] = ()) -> list[Box]:
    """Return a place for the name of each mark within an area.

    Args:
        marks: with the sizes of their names.
        width, height: of the area, which begins at (0, 0).
        lines: that names had better leave free.

    >>> [box] = place_names([Mark(50, 50, 5, 30, 12)], 200, 100)
    >>> (box.x, box.y, box.gap)
    (73.0, 50.0, 3.0)
    """
    crowding = [sum(math.hypot(one.x - two.x, one.y - two.y) < NEAR for two in marks) for one in marks]
    order = sorted(range(len(marks)), key=lambda place: (-crowding[place], place))
    boxes: dict[int, Box] = {}
    for _ in range(SWEEPS):
        before = dict(boxes)
        for place in order:
            others = {other: box for other, box in boxes.items() if other != place}
            costs = {
                box: disliked + OUTSIDE * box.beyond(width, height) + _cost(box, place, marks, others, lines)
                for box, disliked in _candidates(marks[place])
            }
            boxes[place] = min(costs, key=costs.__getitem__)
        if boxes == before:
            break
    return [boxes[place] for place in range(len(marks))]


def _cost(box: Box, place: int, marks: Sequence[Mark], others: Mapping[int, Box], lines: Sequence[Line]) -> float:
    """Return what a place for the name of a mark costs while the others have theirs."""
    covered = sum(map(box.shares, others.values())) + sum(map(box.covers, marks))
    tie = box.tie(marks[place])
    met = sum(other.is_on(tie) for other in others.values()) if tie is not None else 0
    met += sum(tie.meets(mark) for at, mark in enumerate(marks) if at != place) if tie is not None else 0
    met += sum(box.is_on(line) for at, other in others.items() if (line := other.tie(marks[at])) is not None)
    return COVERED * covered + MET * met + CROSSED * sum(map(box.is_on, lines)) + FAR * box.gap


def _candidates(mark: Mark) -> Iterator[tuple[Box, float]]:
    """Yield places beside a mark, each with what its side costs: right is liked best, left least."""
    for gap in GAPS:
        for degrees in SIDES:
            across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            reach = mark.radius + gap
            x = mark.x + reach * across + mark.width / 2 * max(-1.0, min(1.0, 1.5 * across))
            y = mark.y + reach * down + mark.height / 2 * max(-1.0, min(1.0, 1.5 * down))
            yield Box(x, y, mark.width, mark.height, gap), TURNED * (1 - across) / 2
