"""A scalar graph as text for the terminal: a tree from the output down to the inputs, with numbers in columns.

f = n1 * z                -12           1
├─ n1 = x + y               3          -4    df/dn1 = -4
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from trainwell.graph.sketch import number


class Node(Protocol):
    """A node as the tree shows it."""

    @property
    def name(self) -> str:
        """Its name, unique."""

    @property
    def form(self) -> str:
        """How it is computed; its name where it is an input."""

    @property
    def value(self) -> float:
        """Its value."""

    @property
    def gradient(self) -> float:
        """Its accumulated gradient."""


class Edge(Protocol):
    """An edge as the tree shows it."""

    @property
    def source(self) -> str:
        """Name of the operand."""

    @property
    def target(self) -> str:
        """Name of what uses it."""

    @property
    def local(self) -> float:
        """The local gradient."""


def tree(nodes: Sequence[Node], edges: Iterable[Edge]) -> str:
    """Draw a graph, its last node at the top; what is used twice is drawn where it is first met.

    Args:
        nodes: in the order of computation.
        edges: from operands to what uses them.
    """
    known = {node.name: node for node in nodes}
    operands: dict[str, list[Edge]] = {name: [] for name in known}
    for edge in edges:
        operands[edge.target].append(edge)
    rows = [("", "value", "gradient", "local gradient")]
    drawn: set[str] = set()
    waiting: list[tuple[str, str, str, str]] = [(nodes[-1].name, "", "", "")]  # name, lead of it, of its parts, local
    while waiting:
        name, lead, below, local = waiting.pop()
        node, parts = known[name], operands[name]
        is_repeated = name in drawn and bool(parts)
        drawn.add(name)
        form = f"{name} (above)" if is_repeated else name if node.form == name else f"{name} = {node.form}"
        rows.append((lead + form, number(node.value), number(node.gradient), local))
        for place, edge in reversed(list(enumerate(() if is_repeated else parts))):
            branch, more = ("└─ ", "   ") if place == len(parts) - 1 else ("├─ ", "│  ")
            waiting.append(
                (edge.source, below + branch, below + more, f"d{name}/d{edge.source} = {number(edge.local)}")
            )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (
        f"{text:<{widths[0]}}  {value:>{widths[1]}}  {gradient:>{widths[2]}}   {local}".rstrip()
        for text, value, gradient, local in rows
    )
    return "\n".join(lines)
