"""Paths on a landscape of two coordinates: contours with the paths, the loss beside them, and how fast they move."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.style import CLASSES, NEUTRAL, TRAIN, VAL, figure, label, template, translucent

Floats = NDArray[np.floating[Any]]

LEVELS = 14
BEND = 0.4  # power of the heights in front of the levels: close lines near the minimum, few on the walls
LEAST = 1e-12  # of a loss above its minimum that is drawn on a logarithmic scale
MOST = 30.0  # times the loss at the start: one that diverges is drawn up to here
TICKS = 8  # of a loss axis at most
FEW = 60  # iterations with a large dot each
LONGEST_NAME = 48
LONGEST = 1_000  # points of a path that are drawn
FAR = 3.0  # windows; a point beyond is drawn there, outside of the picture
PANEL_HEIGHT, PANEL_GAP, PANEL_TOP = 128, 8, 34  # pixels: a small panel, below it, above a pair for its name
PANEL_FIRST = 24  # pixels above all of them
PANEL_BETWEEN = 0.05  # of a panel's width
KINDS = {"batch": TRAIN, "stochastic": VAL}
SHADE = 0.025  # of one level; the levels below add theirs
_SILENT: dict[str, Any] = {"showlegend": False, "hoverinfo": "skip"}


class Ground(Protocol):
    """A landscape: `lab.landscapes.landscape.Landscape`."""

    @property
    def window(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest of either coordinate."""

    @property
    def minima(self) -> tuple[tuple[float, float], ...]:
        """Every local minimum."""

    def height(self, point: tuple[float, float]) -> float:
        """The height of a point."""

    def heights(self, side: int = ...) -> tuple[Floats, Floats, Floats]:
        """Coordinates and heights over the window."""


class Walk(Protocol):
    """A path: `lab.landscapes.paths.Path`."""

    @property
    def positions(self) -> Floats:
        """(T + 1, 2), the start first."""

    @property
    def iterations(self) -> Floats:
        """(I + 1, 2) after each iteration."""

    @property
    def losses(self) -> Floats:
        """(T + 1,) heights."""

    @property
    def speeds(self) -> Floats:
        """(T,) lengths of the steps."""

    @property
    def sub_steps(self) -> int:
        """Steps an iteration."""


def walks(ground: Ground, paths: Mapping[str, Walk], *, height: int = 440) -> go.Figure:
    """Draw contours with some paths on them; a ring is the start, a dot an iteration, a cross a minimum.

    Args:
        ground: the landscape.
        paths: by the name of each.
        height: pixels.
    """
    shown = figure("x", "y", height=height)
    shown.add_trace(_contours(ground, 81, "x", "y"))
    for (name, walk), (color, dash) in zip(paths.items(), _looks(paths), strict=True):
        for trace in _trail(ground, walk, color, label(name, LONGEST_NAME), dash):
            shown.add_trace(trace)
    shown.add_trace(_minima(ground))
    (left, right), (bottom, top) = ground.window
    shown.update_xaxes(range=[left, right])
    shown.update_yaxes(range=[bottom, top], showgrid=False)
    return _with_legend(shown, paths)


def losses(ground: Ground, paths: Mapping[str, Walk], *, height: int = 440) -> go.Figure:
    """Draw the exact losses of some paths over the iterations, above the lowest minimum where there is one.

    Args:
        ground: the landscape.
        paths: by the name of each.
        height: pixels.
    """
    low = min(map(ground.height, ground.minima)) if ground.minima else None
    title = "Loss" if not low else "Loss above the lowest minimum"
    shown = figure("iteration", title if low is None else f"{title}, logarithmic scale", height=height)
    for (name, walk), (color, dash) in zip(paths.items(), _looks(paths), strict=True):
        shown.add_trace(_loss(walk, low, color, label(name, LONGEST_NAME), dash))
    if low is not None:
        most = np.log10(max(MOST * max(walk.losses[0] - low for walk in paths.values()), LEAST))
        shown.update_yaxes(type="log", exponentformat="power", dtick=_powers(paths, low, most))
        if any(bool((walk.losses - low > 10**most).any()) for walk in paths.values()):
            shown.update_yaxes(autorangeoptions={"maxallowed": most})
    return _with_legend(shown, paths)


def panels(ground: Ground, rows: Mapping[str, Mapping[str, Walk]], *, columns: int = 4, words: str = "") -> go.Figure:
    """Draw small pictures for each of many optimizers: by the batch, and below it by noisy mini-batches.

    Args:
        ground: the landscape, the same in all of them.
        rows: name -> `batch` and `stochastic` -> path; a missing one leaves its place empty.
        columns: optimizers in a row.
        words: what a reader must know, in front of all.
    """
    kinds = [kind for kind in KINDS if any(kind in pair for pair in rows.values())]
    block = PANEL_TOP + len(kinds) * (PANEL_HEIGHT + PANEL_GAP)
    height = -(-len(rows) // columns) * block + PANEL_FIRST
    shown = go.Figure(layout={"template": template("light"), "height": height, "margin": dict.fromkeys("lrtb", 0)})
    colors = "   ".join(f"<span style='color:{KINDS[kind]}'>● {kind}</span>" for kind in kinds)
    level = {"xref": "paper", "yref": "paper", "showarrow": False, "xanchor": "left", "yanchor": "middle"}
    shown.add_annotation(**level, x=0, y=1 - 10 / height, text=f"{colors}   {words}", font_size=12)
    for number, (name, pair) in enumerate(rows.items()):
        left = number % columns / columns
        right = left + (1 - PANEL_BETWEEN) / columns
        ceiling = number // columns * block + PANEL_FIRST
        for place, kind in enumerate(kinds):
            top = ceiling + PANEL_TOP - 10 + place * (PANEL_HEIGHT + PANEL_GAP)
            domain = ([left, right], [1 - (top + PANEL_HEIGHT) / height, 1 - top / height])
            _panel(shown, ground, pair.get(kind), (len(kinds) * number + place + 1, kind, domain))
        text = f"<b>{label(name, 24)}</b>  {_ends(pair)}"
        shown.add_annotation(**level, x=left, y=1 - (ceiling + 12) / height, text=text, font_size=12)
    return shown.update_layout(showlegend=False)


def speeds(paths: Mapping[str, Walk], terminal: Mapping[str, Floats | None]) -> go.Figure:
    """Draw how far each step moves, and dotted how far it would if its gradient stayed as it is.

    Args:
        paths: by the name of each.
        terminal: name -> (T, 2) terminal velocities, or None.
    """
    shown = figure("step", "Speed, the length of a step, logarithmic scale; dotted the terminal one under its gradient")
    for number, (name, walk) in enumerate(paths.items()):
        color, steps = CLASSES[number % len(CLASSES)], list(range(1, len(walk.speeds) + 1))
        shown.add_scatter(x=steps, y=_brief(walk.speeds), name=label(name, 48), line={"color": color, "width": 2})
        last = terminal.get(name)
        if last is not None:
            dotted = {"color": color, "width": 1.5, "dash": "dot"}
            shown.add_scatter(
                x=steps, y=_brief(np.hypot(*last.T)), line=dotted, showlegend=False, hoverinfo="skip", mode="lines"
            )
    shown.update_yaxes(type="log", exponentformat="power", nticks=8)
    return _with_legend(shown, paths)


def _panel(shown: go.Figure, ground: Ground, walk: Walk | None, place: tuple[int, str, Any]) -> None:
    key, kind, (across, up) = place
    x, y = f"x{key}" if key > 1 else "x", f"y{key}" if key > 1 else "y"
    shown.add_trace(_contours(ground, 41, x, y))
    for trace in _trail(ground, walk, KINDS[kind], kind) if walk is not None else ():
        shown.add_trace(trace.update(xaxis=x, yaxis=y, showlegend=False))
    shown.add_trace(_minima(ground).update(xaxis=x, yaxis=y))
    frame = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "automargin": False}
    left_right, bottom_top = ground.window
    shown.update_layout(
        {
            f"xaxis{key if key > 1 else ''}": {**frame, "domain": across, "anchor": y, "range": list(left_right)},
            f"yaxis{key if key > 1 else ''}": {**frame, "domain": up, "anchor": x, "range": list(bottom_top)},
        }
    )


def _ends(pair: Mapping[str, Walk]) -> str:
    """Say the loss at the end of each path, in its colour."""
    words = (f"<span style='color:{KINDS[kind]}'>{_tiny(walk.losses[-1])}</span>" for kind, walk in pair.items())
    return " ".join(words)


def _tiny(loss: float) -> str:
    return "&lt;1e-9" if 0 <= loss < 1e-9 else f"{loss:.2g}"


def _contours(ground: Ground, side: int, x_axis: str, y_axis: str) -> go.Contour:
    x, y, z = ground.heights(side)
    bent = ((z - z.min()) / max(float(z.max() - z.min()), 1e-300)) ** BEND
    shade = translucent(NEUTRAL, SHADE)
    return go.Contour(
        x=_brief(x),
        y=_brief(y),
        z=[_brief(row) for row in bent],
        xaxis=x_axis,
        yaxis=y_axis,
        contours={"start": 0, "end": 1, "size": 1 / LEVELS},
        line={"width": 0.7, "color": translucent(NEUTRAL, 0.55)},
        colorscale=[[0, shade], [1, shade]],
        showscale=False,
        hoverinfo="skip",
    )


def _trail(ground: Ground, walk: Walk, color: str, name: str, dash: str = "solid") -> Sequence[go.Scatter]:
    """Return the line through every step, and a dot for each iteration; the start is a ring."""
    line, dots = _near(ground, walk.positions), _near(ground, walk.iterations)
    thin = 1.0 if walk.sub_steps > 1 else 1.6
    drawn = {"color": translucent(color, 0.75 if walk.sub_steps > 1 else 0.9), "width": thin, "dash": dash}
    ring = {"color": color, "size": 8, "symbol": "circle-open", "line": {"width": 1.5}}
    heights = walk.losses[:: walk.sub_steps][:: _every(walk.iterations)]
    hover = "iteration %{customdata[0]}: (%{x:.3g}, %{y:.3g}), loss %{customdata[1]:.3g}<extra>%{fullData.name}</extra>"
    return (
        go.Scatter(x=_brief(line[:, 0]), y=_brief(line[:, 1]), mode="lines", line=drawn, **_SILENT),
        go.Scatter(x=_brief(line[:1, 0]), y=_brief(line[:1, 1]), mode="markers", marker=ring, **_SILENT),
        go.Scatter(
            x=_brief(dots[1:, 0]),
            y=_brief(dots[1:, 1]),
            mode="markers",
            marker={"color": color, "size": 5 if len(dots) <= FEW else 3},
            name=name,
            legendgroup=name,
            customdata=[[i * _every(walk.iterations), _digits(z)] for i, z in enumerate(heights)][1:],
            hovertemplate=hover,
        ),
    )


def _minima(ground: Ground) -> go.Scatter:
    x, y = ([point[axis] for point in ground.minima] for axis in (0, 1))
    marker = {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": NEUTRAL}}
    return go.Scatter(
        x=x, y=y, mode="markers", marker=marker, name="minimum", showlegend=False, hovertemplate="a minimum<extra/>"
    )


def _loss(walk: Walk, low: float | None, color: str, name: str, dash: str) -> go.Scatter:
    above = walk.losses if low is None else np.maximum(walk.losses - low, LEAST)
    kept = slice(0, LONGEST * walk.sub_steps)
    x = np.arange(len(above))[kept] / walk.sub_steps
    return go.Scatter(
        x=_brief(x),
        y=_brief(above[kept]),
        mode="lines",
        line={"color": color, "width": 1.8, "dash": dash},
        name=name,
        hovertemplate="%{y:.3g} at %{x:.4~g}<extra>%{fullData.name}</extra>",
    )


def _looks(paths: Mapping[str, Walk]) -> list[tuple[str, str]]:
    """Return a colour and a dash for each path."""
    dashes = ("solid", "dot", "dash")
    return [(CLASSES[place % len(CLASSES)], dashes[place // len(CLASSES) % 3]) for place in range(len(paths))]


def _powers(paths: Mapping[str, Walk], low: float, most: float) -> int | None:
    """Return every how many powers of ten a loss axis has a tick; None where it spans less than two."""
    least = min(float(np.maximum(walk.losses - low, LEAST).min()) for walk in paths.values())
    top = min(most, np.log10(max(float(walk.losses.max()) - low for walk in paths.values())))
    span = top - np.log10(least)
    return int(np.ceil(span / TICKS)) if span >= 2 else None


def _with_legend(shown: go.Figure, paths: Mapping[str, Walk]) -> go.Figure:
    """Leave room for a legend of all names above the picture."""
    rows = -(-sum(min(len(name), LONGEST_NAME) + 7 for name in paths) // 62)
    return shown.update_layout(showlegend=True, margin_t=38 + 20 * rows)


def _near(ground: Ground, points: Floats) -> Floats:
    """Return points thinned out, and those far outside of the window moved nearer, whose size would break a picture."""
    kept = points[:: _every(points)]
    low, high = np.array(ground.window).T
    return np.clip(kept, low - FAR * (high - low), high + FAR * (high - low))


def _every(points: Floats) -> int:
    """Return 1 where all points are drawn, n where every n-th is."""
    return max(1, -(-len(points) // LONGEST))


def _digits(value: float) -> float:
    """Return a number with four digits, for a page that stays small."""
    return float(f"{value:.4g}")


def _brief(values: Floats) -> list[float]:
    return [_digits(value) for value in values.tolist()]
