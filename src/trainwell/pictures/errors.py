"""How far predicted numbers lie from the right ones, and how probable true labels are beside those that are not."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.style import NEUTRAL, SPLITS, WRONG, figure, label, translucent

Floats = NDArray[np.floating[Any]]

MOST_DRAWN = 2_000
BINS = 30


def predicted_against_true(predicted: Floats, truth: Floats, name: str, *, split: str) -> go.Figure:
    """Draw each sample by its right number (across) and its predicted one (up); on the dotted line both are equal.

    Args:
        predicted: (N,) numbers; of more than 2,000, as many are drawn, evenly over the split.
        truth: (N,) right numbers.
        name: of the number.
        split: gives the colour.
    """
    shown = figure(f"right {label(name, 24)}", f"Predicted {label(name, 24)}", height=380)
    some = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_DRAWN)).astype(int))
    ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
    shown.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": NEUTRAL, "width": 1, "dash": "dot"}, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    shown.add_scatter(
        x=truth[some].astype(float),
        y=predicted[some].astype(float),
        mode="markers",
        marker={"color": SPLITS[split], "size": 5, "opacity": 0.6},
        showlegend=False,
        hovertemplate="right %{x:.5g}, predicted %{y:.5g}<extra></extra>",
    )
    return shown


def residual_histogram(residuals: Floats, name: str, *, split: str) -> go.Figure:
    """Draw how many samples are off by how much: predicted minus right.

    Args:
        residuals: (N,) predicted minus right.
        name: of the number.
        split: gives the colour.
    """
    shown = figure(f"predicted minus right {label(name, 24)}", "Samples", height=380)
    counts, edges = np.histogram(residuals.astype(float), bins=BINS)
    shown.add_bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=counts,
        width=np.diff(edges),
        marker={"color": SPLITS[split], "line": {"width": 0}},
        showlegend=False,
        hovertemplate="%{y:,} samples around %{x:.4g}<extra></extra>",
    )
    shown.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    return shown.update_layout(bargap=0.05)


def label_probabilities(probabilities: Floats, targets: NDArray[np.integer[Any]], *, split: str) -> go.Figure:
    """Draw how probable the network thought labels that are true, and labels that are not.

    Args:
        probabilities: (N, K) from 0 to 1.
        targets: (N, K), each 0 or 1.
        split: gives the colour of the true ones.
    """
    shown = figure("probability in %", "Share in %", height=300)
    edges = np.linspace(0, 1, 21)
    for truth, name, color in ((1, "labels that are true", SPLITS[split]), (0, "labels that are not", WRONG)):
        values = probabilities[targets == truth]
        if len(values):
            shares = 100 * np.histogram(values, bins=edges)[0] / len(values)
            shown.add_scatter(
                x=100 * (edges[1:] + edges[:-1]) / 2,
                y=shares,
                mode="lines",
                line={"color": color, "width": 2, "shape": "hvh"},
                fill="tozeroy",
                fillcolor=translucent(color, 0.15),
                name=name,
                hovertemplate=f"%{{y:.1f}} % of {name} at %{{x:.0f}} %<extra></extra>",
            )
    shown.add_vline(x=50, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    return shown
