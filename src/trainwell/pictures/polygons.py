"""Polygons of the plane, each in the shade of its number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from trainwell.pictures.style import figure

Corners = NDArray[np.floating[Any]]

_SCALE = "Viridis"


def polygons(corners: Sequence[Corners], numbers: Sequence[int], *, title: str, unit: str) -> go.Figure:
    """Draw polygons of the plane filled in the shade of a whole number, with thin borders.

    Args:
        corners: (V, 2) each, in order around the polygon.
        numbers: of each polygon.
        title: what is shown, in words.
        unit: what the numbers count.
    """
    shown = figure("first input", title, height=420)
    low, high = min(numbers, default=0), max(numbers, default=0)
    kinds = sorted(set(numbers))
    shades = sample_colorscale(_SCALE, [(kind - low) / max(high - low, 1) for kind in kinds])
    for kind, shade in zip(kinds, shades, strict=True):
        mine = [ring for ring, number in zip(corners, numbers, strict=True) if number == kind]
        path = _path(mine)
        shown.add_scatter(
            x=[point[0] for point in path],
            y=[point[1] for point in path],
            mode="lines",
            fill="toself",
            fillcolor=shade,
            line={"color": "#ffffff", "width": 0.4},
            hoveron="fills",
            name=f"{kind} {unit}",
            showlegend=False,
        )
    bar = {"color": [low, high], "colorscale": _SCALE, "showscale": True, "size": 0.1, "colorbar": {"title": unit}}
    shown.add_scatter(x=[None, None], y=[None, None], mode="markers", marker=bar, showlegend=False, hoverinfo="skip")
    shown.update_xaxes(constrain="domain")
    shown.update_yaxes(scaleanchor="x", constrain="domain")
    return shown


def _path(rings: Sequence[Corners]) -> list[tuple[float | None, float | None]]:
    """Closed rings one after the other, a gap between them."""
    path: list[tuple[float | None, float | None]] = []
    for ring in rings:
        points: list[tuple[float | None, float | None]] = [(float(x), float(y)) for x, y in ring.astype(float).round(4)]
        path += [*points, points[0], (None, None)]
    return path
