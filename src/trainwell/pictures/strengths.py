"""How good a solved head is along the path of its penalty, and which one was taken."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from trainwell.pictures.style import NEUTRAL, SPLITS, figure


def strength_curves(
    strengths: Sequence[float],
    train: Sequence[float],
    choice: Sequence[float],
    *,
    chosen: int,
    by: str,
    unit: str = "nats",
) -> go.Figure:
    """Draw the losses over the strength of the penalty, from weak to strong, and mark the one that was taken.

    Args:
        strengths: (S,) above 0.
        train, choice: (S,) losses of the samples that it was solved on, and of those that it was chosen by.
        chosen: the place of the one taken.
        by: what those samples are called.
        unit: of the loss.

    >>> strength_curves([1.0, 0.1], [0.5, 0.2], [0.6, 0.4], chosen=1, by="val").layout.xaxis.type
    'log'
    """
    shown = figure("strength of the penalty, logarithmic scale: right is simpler", f"Loss in {unit}")
    for name, values, split in (("train", train, "train"), (by, choice, "val")):
        shown.add_scatter(
            x=list(strengths),
            y=list(values),
            mode="lines+markers",
            name=name,
            line={"color": SPLITS[split], "width": 2},
            marker={"size": 6, "symbol": "diamond" if split == "val" else "circle"},
            hovertemplate=f"%{{y:.4g}} at %{{x:.2g}}<extra>{name}</extra>",
        )
    shown.add_vline(x=strengths[chosen], line={"color": NEUTRAL, "dash": "dash", "width": 1})
    words = {"text": "taken", "showarrow": False, "xanchor": "left", "xshift": 4, "yref": "paper", "y": 1}
    shown.add_annotation(x=math.log10(strengths[chosen]), **words)  # a logarithmic axis places words by exponent
    shown.update_xaxes(type="log", dtick=1, exponentformat="power")
    shown.update_yaxes(rangemode="tozero")
    return shown
