"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.style import NEUTRAL, WRONG, figure, label, translucent

Integers = NDArray[np.integer[Any]]

MOST_CLASSES = 20
MOST_WRITTEN = 12  # classes whose counts still fit into the cells on a phone


def confusion_matrix(confusion: Integers, classes: Sequence[str]) -> go.Figure:
    """Draw counts by class (row) and answer (column); right answers are grey and mistakes purple.

    The strength of a colour is the share of its row, on a scale of its own for right answers and for mistakes.
    Of more than 20 classes those of the most frequent mistakes are drawn.

    Args:
        confusion: (K, K) samples by class (row) and answer (column).
        classes: K names.
    """
    kept = most_confused(confusion)
    totals = confusion.sum(axis=1)[kept][:, None]
    counts = confusion[np.ix_(kept, kept)]
    share = 100 * counts / np.maximum(totals, 1)
    names = [label(classes[number]) for number in kept]
    full = [label(classes[number], 60) for number in kept]
    customdata = np.empty((len(kept), len(kept)), dtype=object)
    for row, given in enumerate(full):
        for column, answer in enumerate(full):
            customdata[row, column] = (
                f"{given} answered as {answer}: {counts[row, column]:,} of {totals[row, 0]:,}"
                f" ({share[row, column]:.1f} %)"
            )
    is_right = np.eye(len(kept), dtype=bool)
    shown = figure("answer", "Class", height=max(330, min(620, 110 + 32 * len(kept))))
    for mask, color in ((is_right, NEUTRAL), (~is_right, WRONG)):
        there = mask & (counts > 0)
        z = share.round(2).astype(object)
        z[~there] = None
        shown.add_heatmap(
            z=z.tolist(),
            zmin=0,
            zmax=max(1e-9, float(share[there].max(initial=0))),
            colorscale=[[0, translucent(color, 0.12)], [1, translucent(color, 0.6)]],
            showscale=False,
            xgap=2,
            ygap=2,
            customdata=customdata.tolist(),
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
        )
    if len(kept) <= MOST_WRITTEN:  # as annotations, which take the colour of the theme
        shown.update_layout(annotations=[_count(place, int(n)) for place, n in np.ndenumerate(counts) if n])
    ticks = {"tickmode": "array", "tickvals": list(range(len(kept))), "ticktext": names, "showgrid": False}
    shown.update_xaxes(**ticks, showline=False, ticks="")
    shown.update_yaxes(**ticks, autorange="reversed", ticks="")
    shown.update_layout(margin_t=32)
    return shown


def _count(place: tuple[int, int], count: int) -> dict[str, Any]:
    row, column = place
    return {"x": column, "y": row, "text": f"{count:,}", "showarrow": False}


def most_confused(confusion: Integers) -> list[int]:
    """Return the classes to draw, in their order: all up to 20, else those of the most frequent mistakes.

    >>> most_confused(np.eye(3, dtype=int))
    [0, 1, 2]
    """
    if len(confusion) <= MOST_CLASSES:
        return list(range(len(confusion)))
    kept: list[int] = []
    for given, answer, _ in frequent_mistakes(confusion, MOST_CLASSES * MOST_CLASSES):
        kept += [number for number in (given, answer) if number not in kept]
    rest = [number for number in range(len(confusion)) if number not in kept]
    return sorted([*kept, *rest][:MOST_CLASSES])


def frequent_mistakes(confusion: Integers, n: int = 5) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes as (class, answer, count), the most frequent first.

    >>> frequent_mistakes(np.array([[5, 1], [2, 5]]))
    [(1, 0, 2), (0, 1, 1)]
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = [divmod(int(place), len(wrong)) for place in order]
    return [(given, answer, int(wrong[given, answer])) for given, answer in pairs if wrong[given, answer]]
