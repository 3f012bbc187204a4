"""Where the nodes of a directed graph stand: in layers from left to right, few edges crossing, most of them straight.

Source: Sugiyama, Tagawa, Toda 1981, "Methods for visual understanding of hierarchical system structures": longest
paths give the layers, mean positions of neighbours the order; here least squares under the order give the heights.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

Place = tuple[float, float]
SWEEPS = 12
BEND_ROOM = 0.85  # rows between a box and an edge that passes it


def layout(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[dict[str, Place], list[list[str]]]:
    """Return where each node stands, and which places each edge passes.

    Args:
        keys: of the nodes, in an order in which every edge points forward.
        edges: (source, target).

    Returns:
        key -> (layer, height), the first layer 0, heights in rows, rising upwards, with the bends of long edges among
        them; and for each edge the keys from its source over its bends to its target.

    >>> layout(["x", "y", "f"], [("x", "f"), ("y", "f")])[0]
    {'x': (0, 0.5), 'y': (0, -0.5), 'f': (1, 0.0)}
    """
    layers = _layers(keys, edges)
    routes = []
    for number, (source, target) in enumerate(edges):
        between = range(layers[source] + 1, layers[target])
        bends = [f"{number}/{layer}" for layer in between]
        layers.update(zip(bends, between, strict=True))
        routes.append([source, *bends, target])
    before: dict[str, list[str]] = {key: [] for key in layers}
    after: dict[str, list[str]] = {key: [] for key in layers}
    for route in routes:
        for source, target in pairwise(route):
            after[source].append(target)
            before[target].append(source)
    rows: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for key in _depth_first(keys, before):
        rows[layers[key]].append(key)
    _order(rows, before, after)
    heights = _heights(rows, before, after, frozenset(keys))
    return {key: (layers[key], heights[key]) for row in rows for key in row}, routes


def _layers(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the length of the longest way to each node; what reads nothing stands just before what reads it."""
    sources: dict[str, list[str]] = {key: [] for key in keys}
    targets: dict[str, list[str]] = {key: [] for key in keys}
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    layers: dict[str, int] = {}
    for key in keys:
        layers[key] = max((layers[source] + 1 for source in sources[key]), default=0)
    for key in keys:
        if not sources[key] and targets[key]:
            layers[key] = min(layers[target] for target in targets[key]) - 1
    return layers


def _depth_first(keys: Sequence[str], before: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all nodes as they are met from the last one backwards, so that the parts of a node stay together."""
    met: dict[str, None] = {}
    for root in reversed(keys):
        waiting = [root]
        while waiting:
            key = waiting.pop()
            if key not in met:
                met[key] = None
                waiting += reversed(before[key])
    return list(met)


def _order(rows: list[list[str]], before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> None:
    """Sort each layer by the mean position of the neighbours, from the right and from the left in turn."""
    for sweep in range(SWEEPS):
        neighbours, path = (after, range(len(rows) - 2, -1, -1)) if sweep % 2 == 0 else (before, range(1, len(rows)))
        for layer in path:
            places = {key: place for row in rows for place, key in enumerate(row)}
            means = {
                key: sum(places[one] for one in neighbours[key]) / len(neighbours[key])
                if neighbours[key]
                else places[key]
                for key in rows[layer]
            }
            rows[layer].sort(key=means.__getitem__)


def _heights(
    rows: list[list[str]],
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    boxes: frozenset[str],
) -> dict[str, float]:
    """Return heights that keep the order and the room between neighbours and are near to the mean of what is joined."""
    heights = {key: (len(row) - 1) / 2 - place for row in rows for place, key in enumerate(row)}
    for sweep in range(2 * SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = []
            for key in row:
                joined = [*before[key], *after[key]]
                wanted.append(sum(heights[one] for one in joined) / len(joined) if joined else heights[key])
            room = [1.0 if {one, other} <= boxes else BEND_ROOM for one, other in pairwise(row)]
            heights.update(zip(row, _apart(wanted, room), strict=True))
    return heights


def _apart(wanted: Sequence[float], room: Sequence[float]) -> list[float]:
    """Return falling heights nearest to the wanted ones by least squares, each at least its room below the last.

    >>> _apart([0.0, 0.0], [1.0])
    [0.5, -0.5]
    """
    offsets = [0.0]
    for one in room:
        offsets.append(offsets[-1] + one)
    blocks: list[tuple[float, int]] = []  # (mean, count): pooled while the order is broken
    for value, offset in zip(wanted, offsets, strict=True):
        mean, count = value + offset, 1
        while blocks and blocks[-1][0] < mean:
            other, more = blocks.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        blocks.append((mean, count))
    level = [mean for mean, count in blocks for _ in range(count)]
    return [mean - offset for mean, offset in zip(level, offsets, strict=True)]
