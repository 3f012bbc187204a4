"""What is gained by saying "don't know" below a threshold of confidence."""

from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.core.stats import share
from trainwell.pictures.style import NEUTRAL, SPLITS, figure, translucent


class Answered(Protocol):
    """What T thresholds of confidence do, as `metrics.coverage` returns it."""

    @property
    def threshold(self) -> NDArray[np.floating[Any]]:
        """(T,) from 0 to 1."""

    @property
    def answered(self) -> NDArray[np.floating[Any]]:
        """(T,) share of samples with an answer."""

    @property
    def accuracy(self) -> NDArray[np.floating[Any]]:
        """(T,) share of the answers that are right; NaN where there is no answer."""


def answering(coverage: Answered, *, count: int, split: str) -> go.Figure:
    """Draw the share of samples that get an answer, and how many of the answers are right, over the threshold.

    Args:
        coverage: both shares at each threshold.
        count: samples, of which the interval of the answers that are right follows.
        split: gives the colour.
    """
    shown = figure("threshold of confidence in %", "Share in %", height=360)
    there = np.flatnonzero(coverage.answered > 0)
    answers = np.rint(coverage.answered[there] * count).astype(int)
    right = np.rint(coverage.accuracy[there] * answers).astype(int)
    band = [share(hits, total) for hits, total in zip(right.tolist(), answers.tolist(), strict=True)]
    x = (100 * coverage.threshold[there]).round(2).tolist()
    shown.add_scatter(
        x=[*x, *x[::-1]],
        y=[round(100 * end, 3) for end in (*(one.high for one in band), *(one.low for one in reversed(band)))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=translucent(SPLITS[split], 0.15),
        name="95 % interval",
        showlegend=False,
        hoverinfo="skip",
    )
    lines = (
        (coverage.answered, "samples answered", {"color": NEUTRAL, "width": 2, "dash": "dash"}),
        (coverage.accuracy, "answers right", {"color": SPLITS[split], "width": 2}),
    )
    for values, name, line in lines:
        shown.add_scatter(
            x=(100 * coverage.threshold).round(2),
            y=(100 * values).round(3),
            mode="lines",
            line=line,
            name=name,
            hovertemplate=f"%{{y:.1f}} % at threshold %{{x:.0f}} %<extra>{name}</extra>",
        )
    shown.update_yaxes(rangemode="tozero", range=[0, 103])
    return shown
