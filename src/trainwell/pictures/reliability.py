"""Whether a classifier is right as often as it says."""

from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.core.stats import share
from trainwell.pictures.style import NEUTRAL, SPLITS, figure, translucent


class Bins(Protocol):
    """Samples sorted into B bins of equal width by confidence, as `metrics.calibration` returns them."""

    @property
    def edges(self) -> NDArray[np.floating[Any]]:
        """(B + 1,) from 0 to 1."""

    @property
    def confidence(self) -> NDArray[np.floating[Any]]:
        """(B,) mean confidence; NaN where a bin is empty."""

    @property
    def accuracy(self) -> NDArray[np.floating[Any]]:
        """(B,) share that is right; NaN where a bin is empty."""

    @property
    def count(self) -> NDArray[np.integer[Any]]:
        """(B,) samples."""


def reliability(calibration: Bins, *, split: str) -> go.Figure:
    """Draw accuracy over confidence, each bin with its 95 % interval, and below it how many samples each bin holds.

    Args:
        calibration: the bins.
        split: gives the colour.
    """
    shown = figure("confidence in %", "Right answers in %", height=360)
    diagonal = {"color": NEUTRAL, "width": 1, "dash": "dot"}
    ends = [0, 100]
    shown.add_scatter(x=ends, y=ends, mode="lines", line=diagonal, name="says what is true", hoverinfo="skip")
    used = [number for number, count in enumerate(calibration.count) if count]
    counts = [int(calibration.count[number]) for number in used]
    x = [round(100 * float(calibration.confidence[number]), 3) for number in used]
    shares = [share(round(float(calibration.accuracy[b]) * n), n) for b, n in zip(used, counts, strict=True)]
    shown.add_scatter(
        x=x,
        y=[100 * one.value for one in shares],
        error_y={
            "type": "data",
            "array": [100 * (one.high - one.value) for one in shares],
            "arrayminus": [100 * (one.value - one.low) for one in shares],
            "thickness": 1.5,
            "width": 0,
            "color": translucent(SPLITS[split], 0.5),
        },
        customdata=counts,
        mode="markers",
        marker={"color": SPLITS[split], "size": 9},
        name=f"{split}, 95 % interval",
        hovertemplate="%{y:.1f} % right where it says %{x:.1f} %, %{customdata:,} samples<extra></extra>",
    )
    width = 100 / len(calibration.count)
    shown.add_bar(
        x=[100 * float(edge) + width / 2 for edge in calibration.edges[:-1]],
        y=calibration.count.tolist(),
        width=width * 0.92,
        marker={"color": translucent(SPLITS[split], 0.45)},
        yaxis="y2",
        showlegend=False,
        hovertemplate="%{y:,} samples<extra></extra>",
    )
    shown.update_xaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100], anchor="y2")
    shown.update_layout(
        yaxis={"domain": [0.34, 1], "range": [-3, 103], "tickvals": [0, 25, 50, 75, 100]},
        yaxis2={"domain": [0, 0.2], "anchor": "x", "nticks": 3, "rangemode": "tozero", "zeroline": False},
        annotations=[_note("samples", 0.205)],
        bargap=0,
    )
    return shown


def _note(text: str, y: float) -> dict[str, object]:
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "yref": "paper", "yanchor": "bottom"}
    return {"text": text, "showarrow": False, "font": {"size": 11}, **place}
