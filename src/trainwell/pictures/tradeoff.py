"""What accuracy costs: the error of networks over their operations, with their parameters as areas."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from trainwell.pictures.placing import TIED_FROM, Box, Line, Mark, place_names
from trainwell.pictures.style import NEUTRAL, TRAIN, VAL, figure, label, translucent

OURS, PUBLISHED = VAL, TRAIN
WIDTH, HEIGHT = 760, 460  # pixels for which names are placed; where it is drawn wider they only have more room
MARGIN = {"l": 46, "r": 14, "t": 66, "b": 46}
LARGEST, SMALLEST = 54.0, 5.0  # pixels across: of the most parameters; below the other an area could not be seen
LETTER, LINE_HEIGHT, SIZE = 6.3, 14.0, 11  # pixels of a name: of an average letter, of a line, of its font
LOG_FROM = 3.0  # times the least error
SPARE, EDGE = (0.08, 0.12), 8.0  # of each axis, kept free at both ends; pixels around every mark
LEAST_SPAN, LEAST_LOG_SPAN = 0.02, 0.3  # of an axis whose values are all the same
LONGEST_NAME = 40


@dataclass(frozen=True)
class Point:
    """A network that was trained.

    Attributes:
        name: what is written beside it.
        error: share of the samples that it gets wrong.
        operations: multiply-adds for one sample.
        parameters: how many.
        is_ours: whether it was trained here, or its error is a published one.
        family: points of one family are joined by a line; empty for none.
        source: where the error comes from.
    """

    name: str
    error: float
    operations: float
    parameters: float
    is_ours: bool
    family: str = ""
    source: str = ""


@dataclass(frozen=True)
class Axis:
    """A range of numbers on so many pixels."""

    low: float
    high: float
    pixels: float
    is_log: bool

    @property
    def ends(self) -> tuple[float, float]:
        """As Plotly takes a range: of a logarithmic axis, the powers of ten."""
        return (math.log10(self.low), math.log10(self.high)) if self.is_log else (self.low, self.high)

    def at(self, value: float) -> float:
        """Return the place of a value as Plotly takes that of an annotation."""
        return math.log10(value) if self.is_log else value

    def pixel(self, value: float) -> float:
        """Return how many pixels from the low end a value stands."""
        low, high = self.ends
        return self.pixels * (self.at(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round values: powers of ten with 2 and 5 between them, or more of them where the range is short."""
        decades = math.log10(self.high / self.low)
        digits = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0) if decades < 1.3 else (1.0, 2.0, 5.0) if decades < 2.4 else (1.0,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [tick for power in powers for digit in digits if self.low <= (tick := digit * 10.0**power) <= self.high]


def tradeoff(points: Sequence[Point], *, width: int = WIDTH, height: int = HEIGHT) -> go.Figure:
    """Draw networks by operations and error, ours and published ones in two colours, their parameters as areas.

    The axis of operations is logarithmic; that of the error where the errors spread more than threefold.

    Args:
        points: at least one; errors above 0 where they spread so far.
        width, height: pixels for which names are placed; the height is also the figure's.
    """
    operations, errors = [point.operations for point in points], [point.error for point in points]
    most = max(point.parameters for point in points)
    radii = [_across(point.parameters, most) / 2 for point in points]
    across = _axis(operations, radii, width - MARGIN["l"] - MARGIN["r"], is_log=True)
    is_log = min(errors) > 0 and max(errors) > LOG_FROM * min(errors)
    upwards = _axis(errors, radii, height - MARGIN["t"] - MARGIN["b"], is_log=is_log)
    shown = figure("operations: multiply-adds for one sample, logarithmic scale", "", height=height)
    shown.update_layout(title_text="Error" + (", logarithmic scale" if is_log else ""), margin=MARGIN)
    for trace in _lines(points):
        shown.add_trace(trace)
    for trace in _bubbles(points, most):
        shown.add_trace(trace)
    for point, box in zip(points, _names(points, across, upwards, most), strict=True):
        _write(shown, point, box, across, upwards, most)
    _explain_areas(shown, most, height)
    ticks = {"tickmode": "array", "automargin": False}
    shown.update_xaxes(
        type="log", range=across.ends, tickvals=across.ticks(), ticktext=list(map(counted, across.ticks())), **ticks
    )
    shown.update_yaxes(range=upwards.ends, tickformat=".3~%")
    if is_log:
        shown.update_yaxes(type="log", tickvals=upwards.ticks(), **ticks)
    return shown


def counted(number: float) -> str:
    """Say a large number in short.

    >>> [counted(number).split() for number in (5466, 271_690, 20e6, 1.5e9)]
    [['5.5', 'k'], ['270', 'k'], ['20', 'M'], ['1.5', 'G']]
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{float(f'{number / size:.2g}'):g}\u00a0{letter}"
    return f"{number:.3g}"


def _axis(values: Sequence[float], radii: Sequence[float], pixels: float, *, is_log: bool) -> Axis:
    """Return an axis that holds the marks of some values whole, with some room at both ends."""
    places = [math.log10(value) if is_log else value for value in values]
    span = max(max(places) - min(places), LEAST_LOG_SPAN if is_log else LEAST_SPAN)
    low, high = min(places) - SPARE[0] * span, max(places) + SPARE[1] * span
    for _ in range(8):  # what is added at one end makes all marks wider in terms of the axis
        edges = [
            (place - low, high - place, (radius + EDGE) * (high - low) / pixels)
            for place, radius in zip(places, radii, strict=True)
        ]
        low -= max(0.0, *(wide - left for left, _, wide in edges))
        high += max(0.0, *(wide - right for _, right, wide in edges))
    return Axis(10.0**low, 10.0**high, pixels, is_log) if is_log else Axis(low, high, pixels, is_log)


def _across(parameters: float, most: float) -> float:
    """Return how many pixels wide a mark is, whose area stands for the parameters."""
    return max(SMALLEST, LARGEST * math.sqrt(parameters / most))


def _groups(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield the points of each family, ours and published ones apart, by their operations."""
    for key in dict.fromkeys((point.family, point.is_ours) for point in points if point.family):
        members = [point for point in points if (point.family, point.is_ours) == key]
        yield sorted(members, key=lambda point: point.operations)


def _lines(points: Sequence[Point]) -> Iterator[go.Scatter]:
    """Yield a line through each family."""
    for members in _groups(points):
        color = OURS if members[0].is_ours else PUBLISHED
        yield go.Scatter(
            x=[point.operations for point in members],
            y=[point.error for point in members],
            mode="lines",
            line={"color": translucent(color, 0.45), "width": 1.2},
            showlegend=False,
            hoverinfo="skip",
        )


def _bubbles(points: Sequence[Point], most: float) -> Iterator[go.Scatter]:
    """Yield the marks, published ones and ours; large ones first, so that small ones lie on top."""
    both = len({point.is_ours for point in points}) == 2
    for is_ours, name, color in ((False, "published", PUBLISHED), (True, "ours", OURS)):
        mine = sorted((point for point in points if point.is_ours == is_ours), key=lambda point: -point.parameters)
        if mine:
            yield go.Scatter(
                x=[point.operations for point in mine],
                y=[point.error for point in mine],
                mode="markers",
                name=name,
                showlegend=both,
                marker={
                    "size": [_across(point.parameters, most) for point in mine],
                    "color": translucent(color, 0.42),
                    "line": {"color": color, "width": 1.2},
                    "opacity": 1,
                },
                customdata=[[_words(point)] for point in mine],
                hovertemplate="%{customdata[0]}<extra></extra>",
            )


def _words(point: Point) -> str:
    """Say what a point is."""
    source = f"<br>{label(point.source, 80)}" if point.source else ""
    return (
        f"<b>{label(point.name, 60)}</b><br>{point.error:.2%} wrong, {counted(point.operations)} multiply-adds,"
        f" {counted(point.parameters)} parameters{source}"
    )


def _names(points: Sequence[Point], across: Axis, upwards: Axis, most: float) -> list[Box]:
    """Return the places of the names on the area of the plot, whose y goes downwards."""

    def at(point: Point) -> tuple[float, float]:
        return across.pixel(point.operations), upwards.pixels - upwards.pixel(point.error)

    marks = [
        Mark(
            *at(point),
            radius=_across(point.parameters, most) / 2,
            width=LETTER * len(_name(point)),
            height=LINE_HEIGHT,
        )
        for point in points
    ]
    lines = [Line(*at(one), *at(two)) for group in _groups(points) for one, two in pairwise(group)]
    return place_names(marks, across.pixels, upwards.pixels, lines)


def _name(point: Point) -> str:
    return label(point.name, LONGEST_NAME)


def _write(shown: go.Figure, point: Point, box: Box, across: Axis, upwards: Axis, most: float) -> None:
    """Write a name, tied to its mark where it had to go far; it grows away from its mark where letters are wide."""
    x, y = across.pixel(point.operations), upwards.pixels - upwards.pixel(point.error)
    side = (box.x - box.width / 2 >= x) - (box.x + box.width / 2 <= x)
    place: dict[str, Any] = {"x": across.at(point.operations), "y": upwards.at(point.error), "yanchor": "middle"}
    place["xanchor"] = ("center", "left", "right")[side]
    aside, down = box.x - side * box.width / 2 - x, box.y - y
    if box.gap >= TIED_FROM:
        radius = _across(point.parameters, most) / 2
        line = {"arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": NEUTRAL, "standoff": radius}
        place |= {"showarrow": True, "ax": aside, "ay": down, **line}
    else:
        place |= {"showarrow": False, "xshift": aside, "yshift": -down}
    shown.add_annotation(text=_name(point), font={"size": SIZE}, borderpad=0, **place)


def _explain_areas(shown: go.Figure, most: float, height: int) -> None:
    """Draw two or three marks of round numbers of parameters above the plot, at its right."""
    power = 10.0 ** math.floor(math.log10(most))
    sizes = [size for size in (power, power / 10) if LARGEST * math.sqrt(size / most) > SMALLEST]
    right = 0.0
    for size in sizes:
        words = f"{counted(size)}" + (" parameters" if size == sizes[0] else "")
        width, wide = LETTER * len(words) + 8, _across(size, most)
        middle = MARGIN["t"] / 2 - 4
        common: dict[str, Any] = {"xref": "paper", "yref": "paper"}
        shown.add_annotation(
            **common, x=1, y=1, xanchor="right", yanchor="middle", xshift=-right, yshift=middle, text=words,
            showarrow=False, font={"size": SIZE},
        )  # fmt: skip
        shown.add_shape(
            **common, type="circle", xsizemode="pixel", ysizemode="pixel", xanchor=1, yanchor=1,
            x0=-right - width - wide, x1=-right - width, y0=middle - wide / 2, y1=middle + wide / 2,
            line={"color": NEUTRAL, "width": 1.2}, fillcolor=translucent(NEUTRAL, 0.25),
        )  # fmt: skip
        right += width + wide + 16
