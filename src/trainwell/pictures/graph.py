"""A computational graph from left to right: values above the nodes, gradients below, local gradients on the edges."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.layering import layout
from trainwell.pictures.style import CLASSES, NEUTRAL, TEST, TRAIN, VAL, figure, label, translucent

COLORS = {"input": NEUTRAL, "operation": TRAIN, "output": CLASSES[3]}
VALUE, GRADIENT = TEST, VAL
ROW, GAP, TOP, HALF_HEIGHT = 88, 66, 64, 16  # pixels: between rows, between boxes of two layers, title, half a box
LONGEST, SAMPLES = 24, 25  # letters of a title, points of a curve
Place = tuple[float, float]
Points = NDArray[np.float64]


class Box(Protocol):
    """A node: `graph.sketch.Box`."""

    @property
    def key(self) -> str:
        """Unique."""

    @property
    def title(self) -> str:
        """What stands in it."""

    @property
    def kind(self) -> str:
        """`input`, `operation` or `output`."""

    @property
    def above(self) -> str:
        """Its value."""

    @property
    def below(self) -> str:
        """Its gradient; empty where there is none."""

    @property
    def detail(self) -> str:
        """What a reader learns who points at it."""


class Arrow(Protocol):
    """An edge: `graph.sketch.Arrow`."""

    @property
    def source(self) -> str:
        """Key of the earlier box."""

    @property
    def target(self) -> str:
        """Key of the later box."""

    @property
    def label(self) -> str:
        """The local gradient; may be empty."""


class Sketch(Protocol):
    """A graph: `graph.sketch.Sketch`."""

    @property
    def title(self) -> str:
        """What it is the graph of."""

    @property
    def legend(self) -> tuple[str, str, str]:
        """What stands above the boxes, below them, and on the arrows."""

    @property
    def boxes(self) -> Sequence[Box]:
        """In an order in which every arrow points forward."""

    @property
    def arrows(self) -> Sequence[Arrow]:
        """From earlier boxes to later ones."""


def computation(sketch: Sketch) -> go.Figure:
    """Draw a graph of boxes and arrows.

    Args:
        sketch: from `ExpressionGraph.sketch()` or `NetworkGraph.sketch()`.
    """
    places, routes = layout(
        [box.key for box in sketch.boxes], [(arrow.source, arrow.target) for arrow in sketch.arrows]
    )
    half = {box.key: _half_width(box.title) for box in sketch.boxes}
    widest = max(len(line) for box in sketch.boxes for line in box.above.split("<br>"))
    step = max(2 * max(half.values()) + GAP, 6.6 * widest + GAP)  # pixels from layer to layer
    lines = 1 + max(box.above.count("<br>") for box in sketch.boxes)
    row = ROW + 14 * (lines - 1)
    xs, ys = ([place[axis] for place in places.values()] for axis in (0, 1))
    shown = figure("", "", height=round(row * (max(ys) - min(ys)) + row + TOP + 8))
    for arrow, route in zip(sketch.arrows, routes, strict=True):
        ends = half[arrow.source] / step, half[arrow.target] / step
        _draw_edge(shown, arrow, _curve([places[stop] for stop in route], ends))
    for box in sketch.boxes:
        _draw_box(shown, box, places[box.key], (half[box.key] / step, HALF_HEIGHT / row), HALF_HEIGHT / step)
    width = round(step * (max(xs) + 1) + 8)
    shown.update_xaxes(visible=False, range=[-0.5, max(xs) + 0.5], fixedrange=True)
    shown.update_yaxes(visible=False, range=[min(ys) - 0.5, max(ys) + 0.5], fixedrange=True)
    shown.update_layout(
        width=max(440, width),
        margin={"l": 4, "r": 4, "t": TOP, "b": 4},
        title={
            "text": f"<b>{label(sketch.title, 80)}</b><br>{_legend(sketch)}",
            "font": {"size": 13},
            "pad": {"t": 18, "l": 6},
        },
        showlegend=False,
    )
    return shown


def _legend(sketch: Sketch) -> str:
    """Say in the colours themselves what is where."""
    value, gradient, local = sketch.legend
    return (
        f"<span style='color:{VALUE}'>{value} above</span> · <span style='color:{GRADIENT}'>{gradient} below</span>"
        f" · {local} on the edges"
    )


def _half_width(title: str) -> float:
    return max(19.0, 3.7 * min(len(title), LONGEST) + 11)


def _draw_box(shown: go.Figure, box: Box, place: Place, half: Place, corner: float) -> None:
    """Draw a node as a pill with its title in it, its value above and its gradient below."""
    (x, y), color = place, COLORS[box.kind]
    shown.add_shape(
        type="path",
        path=_pill(place, half, corner),
        fillcolor=translucent(color, 0.16),
        line={"color": color, "width": 1.6},
        layer="below",
    )
    name = label(box.title, LONGEST)
    shown.add_scatter(
        x=[x],
        y=[y],
        mode="text",
        text=[f"<b>{name}</b>" if box.kind != "operation" else name],
        textfont={"size": 13},
        hovertemplate=f"{label(box.detail, 80)}<br>value {box.above}<br>gradient {box.below}<extra></extra>",
    )
    for text, shift, color in ((box.above, 1, VALUE), (box.below, -1, GRADIENT)):
        shown.add_annotation(
            x=x,
            y=y + shift * half[1],
            text=text,
            showarrow=False,
            yanchor="bottom" if shift > 0 else "top",
            yshift=shift,
            font={"size": 12, "color": color},
        )


def _draw_edge(shown: go.Figure, arrow: Arrow, curve: Points) -> None:
    """Draw a curve with a head at its end and the local gradient above its middle."""
    shown.add_scatter(
        x=curve[:, 0].round(4),
        y=curve[:, 1].round(4),
        mode="lines",
        line={"color": NEUTRAL, "width": 1.4},
        hoverinfo="skip",
    )
    (x, y), (ax, ay) = curve[-1], curve[-3]
    shown.add_annotation(
        x=x,
        y=y,
        ax=ax,
        ay=ay,
        axref="x",
        ayref="y",
        text="",
        showarrow=True,
        arrowhead=2,
        arrowsize=1.1,
        arrowwidth=1.4,
        arrowcolor=NEUTRAL,
    )
    if arrow.label:
        x, y = curve[len(curve) // 2]
        shown.add_annotation(x=x, y=y, text=arrow.label, showarrow=False, yshift=9, font={"size": 11})


def _curve(stops: Sequence[Place], ends: Place) -> Points:
    """Return (N, 2) points of a smooth line that runs level through each stop, from box border to box border."""
    first, last = stops[0], stops[-1]
    stops = [(first[0] + ends[0], first[1]), *stops[1:-1], (last[0] - ends[1], last[1])]
    t = np.linspace(0, 1, SAMPLES)
    bend = t * t * (3 - 2 * t)  # level at both ends
    pieces = [np.stack([x + t * (u - x), y + bend * (v - y)], axis=1) for (x, y), (u, v) in pairwise(stops)]
    return np.concatenate(pieces)


def _pill(place: Place, half: Place, corner: float) -> str:
    """Return the outline of a box with round ends."""
    (x, y), (w, h) = place, half
    left, right, top, bottom = x - w, x + w, y + h, y - h
    bend = min(w, corner)
    return (
        f"M {left + bend:.4f} {top:.4f} L {right - bend:.4f} {top:.4f} Q {right:.4f} {top:.4f} {right:.4f} {y:.4f}"
        f" Q {right:.4f} {bottom:.4f} {right - bend:.4f} {bottom:.4f} L {left + bend:.4f} {bottom:.4f}"
        f" Q {left:.4f} {bottom:.4f} {left:.4f} {y:.4f} Q {left:.4f} {top:.4f} {left + bend:.4f} {top:.4f} Z"
    )
