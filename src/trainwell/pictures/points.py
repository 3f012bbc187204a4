"""Samples of two features, as they lie in the plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.style import CLASSES, SYMBOLS, figure, label


def scatter_of_points(
    points: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> go.Figure:
    """Draw points in the plane, each class in a colour and a symbol of its own.

    Args:
        points: (N, 2) features.
        labels: (N,) class ids.
        classes: names.
    """
    shown = figure("first feature", "Second feature", height=420)
    for number in np.unique(labels).tolist():
        mine = points[labels == number]
        shown.add_scatter(
            x=mine[:, 0].astype(float).round(5),
            y=mine[:, 1].astype(float).round(5),
            mode="markers",
            name=label(classes[number]),
            marker={
                "color": CLASSES[number % len(CLASSES)],
                "symbol": SYMBOLS[(number + number // len(SYMBOLS)) % len(SYMBOLS)],
                "size": 6,
                "opacity": 0.75,
            },
            hovertemplate="(%{x:.3g}, %{y:.3g})<extra>%{fullData.name}</extra>",
        )
    shown.update_yaxes(scaleanchor="x")
    return shown


def scatter_of_numbers(points: NDArray[np.floating[Any]], numbers: NDArray[np.floating[Any]], name: str) -> go.Figure:
    """Draw points in the plane, each in the colour of its number.

    Args:
        points: (N, 2) features.
        numbers: (N,) one number a point.
        name: of the number.
    """
    shown = figure("first feature", "Second feature", height=420)
    shown.add_scatter(
        x=points[:, 0].astype(float).round(5),
        y=points[:, 1].astype(float).round(5),
        mode="markers",
        showlegend=False,
        customdata=numbers.astype(float),
        marker={
            "color": numbers.astype(float),
            "colorscale": "Cividis",
            "size": 6,
            "opacity": 0.85,
            "colorbar": {"title": {"text": label(name)}, "thickness": 12},
        },
        hovertemplate="(%{x:.3g}, %{y:.3g}): %{customdata:.4g}<extra></extra>",
    )
    return shown.update_yaxes(scaleanchor="x")
