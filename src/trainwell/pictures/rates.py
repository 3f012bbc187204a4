"""Learning rates: a schedule over the epochs, and what a range test saw at each rate."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from trainwell.pictures.style import NEUTRAL, TRAIN, VAL, WRONG, figure, label, translucent

ZONES = {"too low": NEUTRAL, "good": "#009E73", "too high": WRONG}


def rate_curve(steps: Sequence[int], multipliers: Sequence[float], name: str, *, steps_per_epoch: int) -> go.Figure:
    """Draw the multiplier of a schedule over the epochs.

    Args:
        steps: at which the multipliers hold; `multipliers`: of lr.
        name: the schedule, as one writes it.
        steps_per_epoch: of the run.
    """
    shown = figure("epoch", f"Multiplier of lr, {label(name, 60)}")
    epochs = np.round(np.asarray(steps) / steps_per_epoch, 4)
    shown.add_scatter(
        x=epochs,
        y=np.asarray(multipliers),
        mode="lines",
        line={"color": TRAIN, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.4g} at epoch %{x:.4~g}<extra></extra>",
    )
    shown.update_yaxes(rangemode="tozero")
    shown.update_layout(showlegend=False, margin_t=32)
    return shown


def range_curve(
    rates: Sequence[float],
    losses: Sequence[Sequence[float]],
    smoothed: Sequence[float],
    *,
    zones: Mapping[str, tuple[float, float]],
    suggestion: float | None,
    unit: str,
) -> go.Figure:
    """Draw the loss over the rate that made it: each sweep faintly, their smoothed mean, and which rates are good.

    Args:
        rates: (R,) rising.
        losses: each sweep's losses behind a step at these rates; shorter where it ended early.
        smoothed: (<= R,) of all sweeps.
        zones: by name, `too low`, `good`, `too high`: from which rate to which; empty where there is no answer.
        suggestion: the rate suggested, or None.
        unit: of the loss.
    """
    shown = figure("learning rate, logarithmic scale", f"Loss in {unit} after a step at this rate")
    curve = np.asarray(smoothed, dtype=np.float64)
    finite = curve[np.isfinite(curve)]
    low, start = (float(finite.min()), float(finite[0])) if len(finite) else (0.0, 1.0)
    top = start + max(start - low, 0.05 * abs(start)) * 1.5  # what lies far above tells nothing more
    for number, sweep in enumerate(losses):
        values = np.asarray(sweep, dtype=np.float64)
        shown.add_scatter(
            x=np.asarray(rates)[: len(values)],
            y=np.where(values <= top, values, np.nan),
            mode="lines",
            line={"color": translucent(TRAIN, 0.35), "width": 1},
            name="single steps",
            showlegend=number == 0,
            hoverinfo="skip",
        )
    shown.add_scatter(
        x=np.asarray(rates)[: len(curve)],
        y=np.where(curve <= top, curve, np.nan),
        mode="lines",
        line={"color": TRAIN, "width": 2},
        name="smoothed",
        hovertemplate="%{y:.4g} at %{x:.3~g}<extra></extra>",
    )
    for name, (first, last) in zones.items():
        if first < last:
            color = translucent(ZONES[name], 0.12)
            shown.add_vrect(x0=first, x1=last, fillcolor=color, line_width=0, layer="below")
            _write(shown, name, at=float(np.sqrt(first * last)), y=1.0)
    if suggestion is not None:
        shown.add_vline(x=suggestion, line={"color": VAL, "width": 2, "dash": "dash"})
        _write(shown, f"suggested: {suggestion:.2g}", at=suggestion, y=0.9)
        shown.layout.annotations[-1].update(xanchor="left", xshift=4)
    shown.update_xaxes(type="log", tickformat=".0~e", range=[float(np.log10(rates[0])), float(np.log10(rates[-1]))])
    shown.update_yaxes(range=[low - 0.08 * (top - low), top])
    return shown


def _write(shown: go.Figure, words: str, *, at: float, y: float) -> None:
    """Write words beside a rate; on a logarithmic axis Plotly takes the place of a text, not of a shape, as a power."""
    shown.add_annotation(
        x=float(np.log10(at)), y=y, yref="paper", yanchor="top", text=words, showarrow=False, font={"size": 12}
    )
