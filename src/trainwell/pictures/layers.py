"""What went on inside the network, layer by layer: lines over the looks for a few layers, a map for many."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.series import Series
from trainwell.pictures.style import NEUTRAL, TRAIN, figure, label, translucent

Floats = NDArray[np.floating[Any]]
Scale = Literal["linear", "logarithmic", "share"]

MOST_LINES = 12  # layers that are told apart as lines; more become the rows of a map
MOST_BOXES = 24  # layers with a box each; more become a band
MOST_LOOKS = 120
MOST_NAMED = 26  # rows of a map that are named
TICKS = 7
ROW, MOST_HEIGHT = 10, 560  # pixels of a row of a map, and of a whole map
DEPTH = ((0x3D, 0x8F, 0xC4), (0xA8, 0x55, 0xA0), (0xD5, 0x5E, 0x00))  # from the first layer to the last
LOW, MIDDLE, HIGH = "#0072B2", "#8A939C", "#D55E00"
BOX = (0.05, 0.25, 0.5, 0.75, 0.95)


def layers_over_looks(
    places: Mapping[str, Series], title: str, *, scale: Scale = "linear", usual: float | None = None
) -> go.Figure:
    """Draw one measure of every layer over the looks, which stand at equal distances, labelled with their steps.

    Args:
        places: a series for each layer, in the order in which they act; at least one has points.
        title: what is measured, with its unit.
        scale: `share` is drawn in percent from 0; on a `logarithmic` one, values that are not above 0 are left out.
        usual: a value to compare with: a dotted line, or the middle of the colours of a map.
    """
    steps = looks_of(places)
    values = np.vstack([_on_looks(series, steps) for series in places.values()])
    values = 100 * values if scale == "share" else values
    if scale == "logarithmic":
        values = np.where(values > 0, values, np.nan)
    names = list(places)
    if len(names) <= MOST_LINES:
        shown = _lines(names, values, steps, title, is_log=scale == "logarithmic", usual=usual)
    else:
        shown = _map(names, values, steps, title, scale=scale, usual=usual)
    if scale == "share" and len(names) <= MOST_LINES:
        shown.update_yaxes(range=[-3, max(10.0, min(103.0, 1.15 * float(np.nanmax(values))))])
    wanted = np.unique(np.linspace(0, len(steps) - 1, min(TICKS, len(steps))).round().astype(int)).tolist()
    words = [f"{steps[place]:,}" for place in wanted]
    return shown.update_xaxes(tickvals=wanted if len(names) <= MOST_LINES else words, ticktext=words)


def looks_of(places: Mapping[str, Series], most: int = MOST_LOOKS) -> list[int]:
    """Return the steps of the looks that are drawn: all, or of very many some, with the first and the last.

    >>> line = Series(np.arange(500), np.zeros(500))
    >>> looks = looks_of({"fc": line})
    >>> len(looks), looks[0], looks[-1]
    (120, 0, 499)
    """
    steps = sorted({int(step) for series in places.values() for step in series.steps})
    if len(steps) <= most:
        return steps
    return [steps[place] for place in np.linspace(0, len(steps) - 1, most).round().astype(int)]


def _on_looks(series: Series, steps: Sequence[int]) -> Floats:
    """Return the values of a series at some steps, NaN where it has none."""
    known = dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
    return np.array([known.get(step, math.nan) for step in steps])


def color_of_depth(number: int, count: int) -> str:
    """Return the colour of a layer: blue for the first, over purple, to orange for the last.

    >>> color_of_depth(0, 3), color_of_depth(2, 3)
    ('#3d8fc4', '#d55e00')
    """
    place = (len(DEPTH) - 1) * number / max(count - 1, 1)
    low = min(int(place), len(DEPTH) - 2)
    mixed = (round(a + (b - a) * (place - low)) for a, b in zip(DEPTH[low], DEPTH[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _lines(
    names: Sequence[str], values: Floats, steps: Sequence[int], title: str, *, is_log: bool, usual: float | None
) -> go.Figure:
    shown = figure("step", f"{title}, logarithmic scale" if is_log else title, height=300)
    for number, (name, line) in enumerate(zip(names, values, strict=True)):
        color = color_of_depth(number, len(names))
        shown.add_scatter(
            x=list(range(len(steps))),
            y=_brief(line),
            name=label(name, 20),
            mode="lines+markers" if len(steps) <= 60 else "lines",
            line={"color": color, "width": 2},
            marker={"size": 5},
            customdata=list(steps),
            hovertemplate="%{y:.3g} at step %{customdata:,}<extra>%{fullData.name}</extra>",
        )
    if is_log:
        finite = values[np.isfinite(values)]
        ticks = log_ticks(*np.log10([finite.min(), finite.max()])) if finite.size else []
        shown.update_yaxes(type="log", tickvals=ticks, ticktext=[_power(value) for value in ticks])
    if usual is not None:
        shown.add_hline(y=usual, line={"color": NEUTRAL, "width": 1.5, "dash": "dot"})
    rows = -(-sum(len(name[:20]) + 6 for name in names) // 70)
    shown.update_layout(showlegend=True, height=280 + 20 * rows, margin_t=38 + 20 * rows)
    return shown


def _map(
    names: Sequence[str], values: Floats, steps: Sequence[int], title: str, *, scale: Scale, usual: float | None
) -> go.Figure:
    shown = figure("step", title, height=max(320, min(MOST_HEIGHT, 110 + ROW * len(names))))
    powers = np.log10(values) if scale == "logarithmic" else values
    low, high = (0.0, max(10.0, float(np.nanmax(values)))) if scale == "share" else _ends(powers)
    is_log = scale == "logarithmic"
    bar: dict[str, Any] = {"thickness": 10, "outlinewidth": 0, "len": 1, "tickfont": {"size": 11}}
    colors: Any = [[0, color_of_depth(0, 3)], [0.5, color_of_depth(1, 3)], [1, color_of_depth(2, 3)]]
    if is_log and usual is not None:
        reach = max(1.0, high - math.log10(usual), math.log10(usual) - low)
        low, high = math.log10(usual) - reach, math.log10(usual) + reach
        colors = [[0, LOW], [0.5, MIDDLE], [1, HIGH]]
    if is_log:
        ticks = log_ticks(low, high)
        bar |= {"tickvals": [math.log10(value) for value in ticks], "ticktext": [_power(value) for value in ticks]}
    rows = [
        label(name, 60) for name in names
    ]  # a category each, so that pointing at a cell names it without more words
    shown.add_heatmap(
        x=[f"{step:,}" for step in steps],
        y=rows,
        z=[_brief(row) for row in powers],
        zmin=low,
        zmax=high,
        colorscale=colors,
        colorbar=bar,
        text=[[f"{value:.2g}" for value in row] for row in values] if is_log else None,
        hovertemplate=f"%{{y}}: {'%{text}' if is_log else '%{z}'} at step %{{x}}<extra></extra>",
        hoverongaps=False,
    )
    every = -(-len(rows) // MOST_NAMED)
    shown.update_xaxes(type="category", showline=False)
    shown.update_yaxes(
        type="category",
        tickvals=rows[::every],
        ticktext=[label(name, 20) for name in names[::every]],
        autorange="reversed",
        showgrid=False,
    )
    return shown.update_layout(margin_t=32)


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values between two powers of ten: powers where at least two lie between, else 1, 2 and 5 of each.

    >>> log_ticks(-3.2, 0.1), log_ticks(-0.4, 0.4)
    ([0.001, 0.01, 0.1, 1.0], [0.5, 1.0, 2.0])
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    inside = [power for power in powers if low <= power <= high]
    if len(inside) > 1:
        return [10.0**power for power in inside[:: -(-len(inside) // TICKS)]]
    ticks = [float(f"{part}e{power}") for power in powers for part in (1, 2, 5)]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]


def _power(value: float) -> str:
    """Say a round value: small and large ones as powers of ten.

    >>> _power(0.5), _power(0.0001)
    ('0.5', '10<sup>-4</sup>')
    """
    power = round(math.log10(value))
    return f"10<sup>{power}</sup>" if abs(power) > 2 and math.isclose(value, 10.0**power) else f"{value:g}"


def _ends(values: Floats) -> tuple[float, float]:
    """Return the ends of the colours: nearly all values lie between, so that one far out does not flatten the rest."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, [0.005, 0.995])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def _brief(values: Floats) -> list[float | None]:
    """Return values with four digits, for a page that stays small; None where there is none."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


def distributions(looks: Mapping[str, Mapping[str, Mapping[float, float]]]) -> go.Figure:
    """Draw how the values that each layer hands on are spread: a box for each of a few layers, a band for many.

    Args:
        looks: by the words for a look, such as `step 0`, and by layer, in the order in which they act: the value of
            each of the quantiles 0.05, 0.25, 0.5, 0.75 and 0.95. One look, or two: before and after.
    """
    names = list(next(iter(looks.values())))
    shown = figure("layer, in the order in which they act", "Values handed on", height=340)
    colors = (NEUTRAL, TRAIN) if len(looks) > 1 else (TRAIN,)
    draw = _boxes if len(names) <= MOST_BOXES else _band
    for (words, quantiles), color in zip(looks.items(), colors, strict=True):
        parts = {share: [quantiles[name][share] if name in quantiles else math.nan for name in names] for share in BOX}
        draw(shown, names, {share: np.array(part) for share, part in parts.items()}, words, color)
    most = MOST_BOXES if len(names) <= MOST_BOXES else TICKS
    named = list(range(len(names)))[:: -(-len(names) // most)]
    shown.update_xaxes(tickvals=named, ticktext=[label(names[place]) for place in named])
    shown.update_layout(boxmode="group", boxgap=0.35, boxgroupgap=0.15, showlegend=len(looks) > 1)
    shown.update_layout(legend_traceorder="normal")
    return shown


def _boxes(shown: go.Figure, names: Sequence[str], parts: Mapping[float, Floats], words: str, color: str) -> None:
    lowest, low, middle, high, highest = (_brief(parts[share]) for share in BOX)
    shown.add_box(
        x=list(range(len(names))),
        lowerfence=lowest,
        q1=low,
        median=middle,
        q3=high,
        upperfence=highest,
        name=words,
        line={"color": color, "width": 1.5},
        fillcolor=translucent(color, 0.25),
        whiskerwidth=0,
        hoverinfo="y+name",
    )


def _band(shown: go.Figure, names: Sequence[str], parts: Mapping[float, Floats], words: str, color: str) -> None:
    x = list(range(len(names)))
    for (low, high), opacity in (((0.05, 0.95), 0.18), ((0.25, 0.75), 0.3)):
        for share, fill in ((low, None), (high, "tonexty")):
            shown.add_scatter(
                x=x,
                y=_brief(parts[share]),
                mode="lines",
                line={"width": 0, "color": color},
                fill=fill,
                fillcolor=translucent(color, opacity),
                showlegend=False,
                hoverinfo="skip",
            )
    shown.add_scatter(
        x=x,
        y=_brief(parts[0.5]),
        mode="lines",
        name=words,
        line={"width": 2, "color": color},
        customdata=[label(name, 40) for name in names],
        hovertemplate="median %{y:.3g} in %{customdata}<extra>%{fullData.name}</extra>",
    )
