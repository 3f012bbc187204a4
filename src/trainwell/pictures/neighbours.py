"""The nearest neighbours of images in the space of a network's features, drawn as rows of small pictures.

Source: Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks", figure 4
(images whose features lie at the least Euclidean distance).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trainwell.pictures.style import WRONG, figure, label

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

CELL, ROW = 1.0, 1.32  # of the grid: a picture and its space, across and down with its name
PICTURE = 0.9  # side of a picture in its cell
GAP = 0.45  # between the image that is asked about and its neighbours, and between blocks of them
ROW_PIXELS, TOP_PIXELS = 84, 56
LONGEST_NAME = 11  # letters below a picture


def nearest(codes: Floats, count: int) -> Integers:
    """Return the positions (N, count) of the samples with the least Euclidean distance to each, nearest first.

    No sample is its own neighbour; of equally near ones the first comes first.

    Args:
        codes: (N, D) features, N > count.
        count: of neighbours.

    >>> nearest(np.array([[0.0], [1.0], [3.0]]), 1).ravel().tolist()
    [1, 0, 1]
    """
    wide = codes.astype(np.float64)
    distances = ((wide[:, None] - wide[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    found: Integers = distances.argsort(axis=1, kind="stable")[:, :count]
    return found


def alike(codes: Floats, labels: Integers, count: int) -> float:
    """Return which share of the nearest neighbours of all samples is of their class.

    >>> alike(np.array([[0.0], [0.1], [5.0]]), np.array([0, 0, 1]), 1)
    0.6666666666666666
    """
    return float((labels[nearest(codes, count)] == labels[:, None]).mean())


def some_of_each(labels: Integers, most: int) -> Integers:
    """Return the positions of the first samples of each class, as many of each; of many classes, of `most` of them.

    >>> some_of_each(np.array([0, 0, 1, 2, 2]), 2).tolist(), some_of_each(np.array([0, 0, 0, 1, 1]), 4).tolist()
    ([0, 3], [0, 1, 3, 4])
    """
    places = [np.flatnonzero(labels == each) for each in np.unique(labels)]
    chosen = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int))
    found: Integers = np.concatenate([places[each][: max(1, most // len(places))] for each in chosen])
    return found


def neighbours(
    pictures: Sequence[str],
    labels: Integers,
    classes: Sequence[str],
    codes: Mapping[str, Floats],
    *,
    asked: Integers,
    count: int,
) -> go.Figure:
    """Draw a row for each image that is asked about: itself, then its neighbours in each space, nearest first.

    A frame marks a neighbour of another class.

    Args:
        pictures: (N) addresses of the images, such as `data:`.
        labels: (N,) class ids.
        classes: names.
        codes: what a space is called -> features (N, D); blocks from left to right.
        asked: positions of the images that rows are drawn for.
        count: of neighbours in each space.
    """
    shown = figure("", "", height=TOP_PIXELS + ROW_PIXELS * len(asked))
    starts = [CELL + GAP + number * (count * CELL + GAP) for number in range(len(codes))]
    cells = [(0.0, row, int(place), int(place)) for row, place in enumerate(asked)]
    for start, values in zip(starts, codes.values(), strict=True):
        found = nearest(values, count)[asked]
        cells += [
            (start + rank * CELL, row, int(other), int(asked[row]))
            for row, others in enumerate(found)
            for rank, other in enumerate(others)
        ]
    for across, row, place, query in cells:
        _put(shown, pictures[place], across, row * ROW, is_other=labels[place] != labels[query])
    names = [label(classes[labels[place]], LONGEST_NAME) for _, _, place, _ in cells]
    middles = [across + PICTURE / 2 for across, _, _, _ in cells]
    shown.add_scatter(
        x=middles, y=[row * ROW + PICTURE + 0.16 for _, row, _, _ in cells], text=names, mode="text",
        textfont={"size": 10}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    _head(shown, codes, labels, starts, count)
    width = starts[-1] + count * CELL
    shown.update_xaxes(visible=False, range=[-0.05, width], fixedrange=True)
    shown.update_yaxes(
        visible=False, range=[len(asked) * ROW, -0.05], fixedrange=True, scaleanchor="x", constrain="domain"
    )
    return shown.update_layout(margin={"t": TOP_PIXELS, "b": 0, "l": 4, "r": 4})


def _put(shown: go.Figure, picture: str, across: float, down: float, *, is_other: bool) -> None:
    """Put a picture with its upper left corner at a place, in a frame where its class is another one."""
    place = {"xref": "x", "yref": "y", "x": across, "y": down, "xanchor": "left", "yanchor": "top"}
    shown.add_layout_image(source=picture, sizex=PICTURE, sizey=PICTURE, sizing="contain", layer="below", **place)
    if is_other:
        ends = {"x0": across, "x1": across + PICTURE, "y0": down, "y1": down + PICTURE}
        shown.add_shape(type="rect", line={"color": WRONG, "width": 3}, **ends)


def _head(shown: go.Figure, codes: Mapping[str, Floats], labels: Integers, starts: Sequence[float], count: int) -> None:
    """Name the space above each block, with the share of neighbours of all images that are of their class."""
    words = [(0.0, "image")]
    for start, (name, values) in zip(starts, codes.items(), strict=True):
        share = f"{100 * alike(values, labels, count):.0f} % of its class"
        words.append((start, f"{label(name, 40)}<br>{share}"))
    for start, text in words:
        shown.add_annotation(
            text=text, x=start, y=1, yref="paper", xanchor="left", yanchor="bottom", align="left", showarrow=False
        )
