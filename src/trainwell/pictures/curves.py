"""How loss and accuracy moved while the network learned."""

import numpy as np
import plotly.graph_objects as go

from trainwell.pictures.series import Floats, History, Integers, Series, smooth, thin, window_of
from trainwell.pictures.style import SPLITS, TRAIN, figure, translucent

LOG_FROM = 10.0  # times the least loss; a linear axis then flattens what happens at the end


def loss_curves(history: History, *, steps_per_epoch: float | None, unit: str = "nats") -> go.Figure:
    """Draw the loss: of each step faintly, averaged over neighbouring steps, and of val after each epoch.

    Args:
        history: `train/loss` of each step, `epoch/loss` and `val/loss` of each epoch; any may be missing.
        steps_per_epoch: the horizontal axis counts epochs with it, and steps where it is None.
        unit: of the loss.
    """
    shown = figure(_x_title(steps_per_epoch), f"Loss in {unit}")
    step = _whole(history, "train/loss")
    if step is not None:
        raw, smoothed = thin(step), thin(smooth(step, window_of(step)))
        x, faint = _x(raw.steps, steps_per_epoch), {"color": translucent(TRAIN, 0.5), "width": 1}
        shown.add_scatter(x=x, y=raw.values, mode="lines", line=faint, showlegend=False, hoverinfo="skip")
        _add(shown, smoothed, steps_per_epoch, name="train", split="train")
    elif (epoch := _whole(history, "epoch/loss")) is not None:
        _add(shown, epoch, steps_per_epoch, name="train", split="train", mode="lines+markers")
    val = _whole(history, "val/loss")
    if val is not None:
        _add(shown, thin(val), steps_per_epoch, name="val", split="val", mode=_mode(val))
    if is_log(history):
        shown.update_layout(title_text=f"Loss in {unit}, logarithmic scale", yaxis_type="log", yaxis_dtick="D1")
        shown.update_yaxes(minor={"ticks": ""}, dtick=None, tickformat=".3~g", nticks=5)
    return shown


def accuracy_curves(history: History, *, steps_per_epoch: float | None) -> go.Figure:
    """Draw the accuracy on train, counted while the weights move, and on val after each epoch, in percent.

    Args:
        history: `epoch/train_accuracy` and `val/accuracy`; either may be missing.
        steps_per_epoch: see `loss_curves`.
    """
    shown = figure(_x_title(steps_per_epoch), "Accuracy in %")
    for name, split in (("epoch/train_accuracy", "train"), ("val/accuracy", "val")):
        series = _whole(history, name)
        if series is not None:
            percent = Series(series.steps, 100 * series.values)
            _add(shown, thin(percent), steps_per_epoch, name=split, split=split, mode=_mode(series))
    return shown


def score_curves(history: History, key: str, title: str, *, steps_per_epoch: float | None) -> go.Figure:
    """Draw a score that is no share of samples, on train, counted while the weights move, and on val after each epoch.

    Args:
        history: `epoch/train_KEY` and `val/KEY`; either may be missing.
        key: the last part of the readings' names.
        title: what the score is called.
        steps_per_epoch: see `loss_curves`.
    """
    shown = figure(_x_title(steps_per_epoch), title)
    for name, split in ((f"epoch/train_{key}", "train"), (f"val/{key}", "val")):
        series = _whole(history, name)
        if series is not None:
            _add(shown, thin(series), steps_per_epoch, name=split, split=split, mode=_mode(series))
    return shown


def is_log(history: History) -> bool:
    """Whether the losses spread so far that they are drawn on a logarithmic scale."""
    found = [_whole(history, name) for name in ("train/loss", "val/loss")]
    values = np.concatenate([series.values for series in found if series is not None] or [np.ones(1)])
    return bool(values.min() > 0 and values.max() > LOG_FROM * values.min())


def _whole(history: History, name: str) -> Series | None:
    """Return the series of the whole network, if it has points."""
    series = history.get(name, {}).get("")
    return series if series is not None and len(series) else None


def _mode(series: Series) -> str:
    return "lines+markers" if len(series) <= 40 else "lines"


def _x_title(steps_per_epoch: float | None) -> str:
    return "step" if steps_per_epoch is None else "epoch"


def _x(steps: Integers, steps_per_epoch: float | None) -> Floats | Integers:
    return steps if steps_per_epoch is None else np.round(steps / steps_per_epoch, 4)


def _add(
    shown: go.Figure, series: Series, steps_per_epoch: float | None, *, name: str, split: str, mode: str = "lines"
) -> None:
    unit = "step %{x}" if steps_per_epoch is None else "epoch %{x:.4~g}"
    shown.add_scatter(
        x=_x(series.steps, steps_per_epoch),
        y=series.values,
        mode=mode,
        name=name,
        line={"color": SPLITS[split], "width": 2},
        marker={"size": 6, "symbol": "diamond" if split == "val" else "circle"},
        hovertemplate=f"%{{y:.4g}} at {unit}<extra>{name}</extra>",
    )
