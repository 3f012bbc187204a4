"""Any measure over the steps, drawn from its name, unit and definition alone."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from trainwell.core.record import Measure
from trainwell.pictures.series import Series, thin
from trainwell.pictures.style import CLASSES, NEUTRAL, figure, label

MOST_PLACES = 8
LOG_FROM = 10.0  # ratio of the quartiles: a few tiny values at an end are no reason to stretch an axis


def measure_over_steps(
    measure: Measure, places: Mapping[str, Series], *, steps_per_epoch: float | None, height: int = 240
) -> go.Figure:
    """Draw one measure, a line for each place in the network; of more than eight, the eight that moved most.

    Args:
        measure: its name and unit.
        places: a series for each place; the empty name is the whole network.
        steps_per_epoch: the horizontal axis counts epochs with it, and steps where it is None.
        height: pixels.
    """
    chosen = most_moved(places)
    values = np.concatenate([series.values for series in chosen.values()] or [np.ones(1)])
    low, high = np.quantile(values, [0.25, 0.75])
    is_log = bool(values.min() > 0 and high > LOG_FROM * low)
    words = f"{label(measure.name, 40)}, {label(measure.unit, 60)}" if measure.unit else label(measure.name, 40)
    title = words + (", logarithmic scale" if is_log else "")
    shown = figure("step" if steps_per_epoch is None else "epoch", title, height=height)
    for number, (where, series) in enumerate(chosen.items()):
        line = thin(series)
        x = line.steps if steps_per_epoch is None else np.round(line.steps / steps_per_epoch, 4)
        color = NEUTRAL if len(chosen) == 1 else CLASSES[number % len(CLASSES)]
        shown.add_scatter(
            x=x,
            y=line.values,
            name=label(where, 32) or "whole network",
            mode="lines+markers" if len(line) <= 60 else "lines",
            line={"color": color, "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.4g} at %{x:.4~g}<extra>%{fullData.name}</extra>",
        )
    if is_log:
        shown.update_yaxes(type="log", tickformat=".1~e", nticks=5)
    elif values.min() >= 0:
        shown.update_yaxes(rangemode="tozero")
    shown.update_layout(showlegend=len(chosen) > 1, margin_t=58 if len(chosen) > 1 else 32)
    return shown


def most_moved(places: Mapping[str, Series]) -> dict[str, Series]:
    """Return the places with points; of more than eight, those whose values spread most, in their own order."""
    there = {where: series for where, series in places.items() if len(series)}
    spread = {where: float(np.ptp(series.values)) for where, series in there.items()}
    first = set(sorted(there, key=lambda where: -spread[where])[:MOST_PLACES])
    return {where: series for where, series in there.items() if where in first}
