"""A network's graph for people: a table for the terminal, and boxes that stay few however large the network is."""

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from trainwell.graph.sketch import Arrow, Box, Kind, Sketch, number

MOST_ROWS = 100  # of a table: more than a terminal shows, and most of a network that is read line by line


class Weight(Protocol):
    """A parameter as it is shown."""

    @property
    def gradient_norm(self) -> float | None:
        """Of the loss with respect to it."""


class Node(Protocol):
    """A node as it is shown."""

    @property
    def name(self) -> str:
        """Its name, unique."""

    @property
    def operation(self) -> str:
        """What it does."""

    @property
    def module(self) -> str:
        """Path of the module that it belongs to."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its value."""

    @property
    def mean(self) -> float:
        """Of its value."""

    @property
    def std(self) -> float:
        """Of its value."""

    @property
    def gradient_norm(self) -> float | None:
        """Of the loss with respect to its value."""

    @property
    def weights(self) -> Sequence[Weight]:
        """The parameters that it reads."""


class Edge(Protocol):
    """An edge as it is shown."""

    @property
    def source(self) -> str:
        """Name of what is read."""

    @property
    def target(self) -> str:
        """Name of what reads it."""

    @property
    def norm(self) -> float | None:
        """Of the local Jacobian."""


class Graph(Protocol):
    """A network's graph as it is shown."""

    @property
    def title(self) -> str:
        """What network it is."""

    @property
    def nodes(self) -> Sequence[Node]:
        """In the order in which they ran."""

    @property
    def edges(self) -> Sequence[Edge]:
        """From what is read to what reads it."""


def network_table(graph: Graph, most: int = MOST_ROWS) -> str:
    """Return one line a node: what it reads, its value, its gradient, and those of its weights.

    Of a network with more nodes than `most`, those of one module share a line.
    """
    groups, notes = _folded(graph.nodes, most)
    joined = _joined(graph.edges, groups)
    rows = [
        ("", "node", "operation", "reads", "shape", "mean", "std", "|gradient|", "|of weights|", "|local Jacobian|")
    ]
    for place, group in enumerate(groups):
        last, weights = group[-1], [weight for node in group for weight in node.weights]
        reads = {source: norms for (source, target), norms in joined.items() if target == place}
        jacobians = [_local(norms) or "-" for norms in reads.values()]
        rows.append(
            (
                str(place),
                _title(group),
                last.operation if len(group) == 1 else f"{len(group)} nodes",
                " ".join(map(str, reads)),
                _shape(last.shape),
                number(last.mean),
                number(last.std),
                _norm(last.gradient_norm),
                _norm(_together(weights)) if weights else "",
                " ".join(jacobians) if set(jacobians) - {"-"} else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ["<" if place in (1, 2) else ">" for place in range(len(widths))]
    shapes = [f"{{:{side}{width}}}" for side, width in zip(aligned, widths, strict=True)]
    lines = ["  ".join(shapes).format(*row).rstrip() for row in rows]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def network_sketch(graph: Graph, most: int) -> Sketch:
    """Return boxes and arrows; of a network with more nodes than `most`, those of one module share a box.

    The notes say what was put together or left out.
    """
    groups, notes = _folded(graph.nodes, most)
    boxes = [
        Box(
            key=str(place),
            title=_title(group),
            kind="input" if group[0].operation.startswith("input") else _kind(place, groups),
            above=f"{_shape(group[-1].shape)}<br>{number(group[-1].mean)} ± {number(group[-1].std)}",
            below=_norm(group[-1].gradient_norm),
            detail=_detail(group),
        )
        for place, group in enumerate(groups)
    ]
    arrows = [Arrow(str(a), str(b), _local(norms)) for (a, b), norms in _joined(graph.edges, groups).items()]
    legend = "shape, mean ± standard deviation", "norm of the gradient", "norm of the local Jacobian where it is small"
    return Sketch(graph.title, legend, boxes, arrows, notes)


def _folded(nodes: Sequence[Node], most: int) -> tuple[list[list[Node]], list[str]]:
    """Return the nodes in at most `most` groups of neighbours, and what was done in words."""
    if len(nodes) <= most:
        return [[node] for node in nodes], []
    deepest = max(node.module.count(".") + 1 for node in nodes)
    for depth in range(deepest, 0, -1):
        groups = _neighbours(nodes, depth)
        if len(groups) <= most:
            return groups, [f"{len(nodes)} nodes are drawn as {len(groups)} boxes: neighbours in one module share one"]
    first, last = groups[: most // 2], groups[len(groups) - (most - most // 2 - 1) :]
    between = [node for group in groups[len(first) : len(groups) - len(last)] for node in group]
    said = f"{len(nodes)} nodes are drawn as {most} boxes: {len(between)} in the middle are one box, the table has all"
    return [*first, between, *last], [said]


def _neighbours(nodes: Sequence[Node], depth: int) -> list[list[Node]]:
    """Return runs of nodes whose modules have the first `depth` parts of their paths in common."""
    return [list(group) for _, group in groupby(nodes, key=lambda node: _path(node, depth))]


def _joined(edges: Sequence[Edge], groups: Sequence[Sequence[Node]]) -> dict[tuple[int, int], list[float | None]]:
    """Return (source group, target group) -> norms of the local Jacobians of all edges from one to the other."""
    home = {node.name: place for place, group in enumerate(groups) for node in group}
    joined: dict[tuple[int, int], list[float | None]] = {}
    for edge in edges:
        ends = home[edge.source], home[edge.target]
        if ends[0] != ends[1]:
            joined.setdefault(ends, []).append(edge.norm)
    return joined


def _path(node: Node, depth: int) -> str:
    return ".".join(node.module.split(".")[:depth]) if node.module else node.name


def _title(group: Sequence[Node]) -> str:
    """Return the path that all nodes of a group share, or from where to where they reach."""
    if len(group) == 1:
        return group[0].name
    paths = [node.module.split(".") for node in group]
    shared = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
    return ".".join(filter(None, shared)) or f"{group[0].name} … {group[-1].name}"


def _kind(place: int, groups: Sequence[Sequence[Node]]) -> Kind:
    return "output" if place == len(groups) - 1 else "operation"


def _detail(group: Sequence[Node]) -> str:
    what = group[0].operation if len(group) == 1 else f"{len(group)} nodes"
    weights = [weight for node in group for weight in node.weights]
    return f"{what}, gradient of its weights {_norm(_together(weights))}" if weights else what


def _together(weights: Sequence[Weight]) -> float | None:
    """Return the norm of several gradients as one vector."""
    norms = [weight.gradient_norm for weight in weights if weight.gradient_norm is not None]
    return sum(norm**2 for norm in norms) ** 0.5 if norms else None


def _local(norms: Sequence[float | None]) -> str:
    """Return the norm of a single edge; several between two groups have none in common."""
    return number(norms[0]) if len(norms) == 1 and norms[0] is not None else ""


def _norm(value: float | None) -> str:
    return "none" if value is None else number(value)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
