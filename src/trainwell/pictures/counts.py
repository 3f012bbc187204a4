"""How many samples there are of each class in each split."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from trainwell.pictures.style import SPLITS, figure, label

MOST_NAMED = 30


def samples_per_class(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> go.Figure:
    """Draw a bar for each class, one colour a split; of more than 30 classes, sorted by size and without names.

    Args:
        counts: samples by split and then class.
        classes: names, in the order of the scores.
    """
    totals = {name: sum(split.get(name, 0) for split in counts.values()) for name in classes}
    if len(classes) > MOST_NAMED:
        return _sorted_bars(counts, sorted(classes, key=lambda name: -totals[name]))
    shown = figure("samples", "Class", height=110 + max(100, 24 * len(classes)))
    places = list(range(len(classes)))
    for split, by_class in counts.items():
        shown.add_bar(
            x=[by_class.get(name, 0) for name in classes],
            y=places,
            orientation="h",
            name=split,
            marker={"color": SPLITS[split], "line": {"width": 0}},
            customdata=[label(name, 60) for name in classes],
            hovertemplate=f"%{{x:,}} of %{{customdata}} in {split}<extra></extra>",
        )
    names = [label(name) for name in classes]
    shown.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    shown.update_xaxes(showgrid=True, showline=False, ticks="")
    shown.update_yaxes(tickmode="array", tickvals=places, ticktext=names, autorange="reversed", showgrid=False)
    return shown


def _sorted_bars(counts: Mapping[str, Mapping[str, int]], order: Sequence[str]) -> go.Figure:
    shown = figure(f"{len(order):,} classes, the largest first", "Samples")
    for split, by_class in counts.items():
        shown.add_bar(
            x=list(range(1, len(order) + 1)),
            y=[by_class.get(name, 0) for name in order],
            name=split,
            marker={"color": SPLITS[split], "line": {"width": 0}},
            customdata=[label(name, 60) for name in order],
            hovertemplate=f"%{{y:,}} of %{{customdata}} in {split}<extra></extra>",
        )
    shown.update_layout(barmode="stack", bargap=0, legend_traceorder="normal")
    return shown
