"""The computational graph of a scalar expression: values forward, gradients backward by the chain rule.

    >>> graph = expression_graph("(x + y) * z", x=-2, y=5, z=-4)
    >>> graph.value, graph.gradients
    (-12.0, {'x': -4.0, 'y': -4.0, 'z': 3.0})

Nothing here uses torch: torch is what it is tested against.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

from trainwell.errors import NameUnknown, OptionInvalid, did_you_mean
from trainwell.graph.parsing import parse
from trainwell.graph.scalar import Scalar, local_of, value_of
from trainwell.graph.sketch import Arrow, Box, Sketch, number
from trainwell.graph.tree import tree


@dataclass(frozen=True)
class Node:
    """A node of an expression's graph.

    Attributes:
        name: of an input, given to a part, or n1, n2, ... in the order of computation.
        operation: `input`, or the symbol of the gate.
        form: how it is computed from other nodes: `x + y`; of an input its name.
        gate: the form with a dot for each node: `1 / ·`.
        value: its value.
        gradient: of the output with respect to it: the sum over its consumers of theirs times the local one.
        is_at_kink: whether the local gradient jumps exactly at this value, so that one side was chosen.
    """

    name: str
    operation: str
    form: str
    gate: str
    value: float
    gradient: float
    is_at_kink: bool


@dataclass(frozen=True)
class Edge:
    """One use of a node as an operand of another.

    Attributes:
        source: name of the operand.
        target: name of the node that uses it.
        local: derivative of the target's value with respect to this operand, the others held.
    """

    source: str
    target: str
    local: float


@dataclass(frozen=True)
class Nudge:
    """What happens to the output when one node is moved.

    Attributes:
        node: which one.
        step: h, how far.
        slope: f'(x), its accumulated gradient.
        before: f(x).
        predicted: f(x) + f'(x) h.
        true: f(x + h), by computing all that follows the node anew.
    """

    node: str
    step: float
    slope: float
    before: float
    predicted: float
    true: float

    def __str__(self) -> str:
        sign, size = "-+"[self.step >= 0], number(abs(self.step))
        slope = f"({number(self.slope)})" if self.slope < 0 else number(self.slope)
        return (
            f"{self.node} {sign} {size}: predicted {number(self.predicted)}"
            f" = {number(self.before)} {sign} {slope} * {size}, true {number(self.true)}"
        )


class ExpressionGraph:
    """Nodes and edges of the computation that ended in a scalar.

    Attributes:
        nodes: in the order of computation; the output is the last. Constants are part of their gate.
        edges: in the order of their targets.
    """

    def __init__(self, output: Scalar, *, title: str = "") -> None:
        self._order = _in_order(output)
        self._names = _named(self._order)
        gradients: dict[Scalar, float] = dict.fromkeys(self._order, 0.0)
        gradients[output] = 1.0
        edges: list[Edge] = []
        for scalar in reversed(self._order):
            for position, operand in reversed(list(enumerate(scalar.operands))):
                if operand.is_constant or scalar.operation is None:
                    continue
                values = [one.value for one in scalar.operands]
                local = local_of(scalar.operation, values, scalar.value, position)
                gradients[operand] += gradients[scalar] * local
                edges.append(Edge(self._names[operand], self._names[scalar], local))
        self.edges = tuple(reversed(edges))
        self.nodes = tuple(self._node(scalar, gradients[scalar]) for scalar in self._order)
        self.title = title or self.nodes[-1].form
        endless = [node.name for node in self.nodes if not math.isfinite(node.gradient)]
        if endless:
            raise OptionInvalid(f"the gradient of {endless[0]} is larger than a float64 can hold: choose other inputs")

    @property
    def value(self) -> float:
        """Of the output."""
        return self.nodes[-1].value

    @property
    def gradients(self) -> dict[str, float]:
        """Of the output with respect to each input, by name, in the order in which the inputs are first used."""
        return {node.name: node.gradient for node in self.nodes if node.operation == "input"}

    def node(self, name: str) -> Node:
        """Return a node by its name or by its form, such as `x + y`.

        Raises:
            NameUnknown: there is none.
        """
        found = next((node for node in self.nodes if name.strip() in (node.name, node.form)), None)
        if found is None:
            names = [node.name for node in self.nodes]
            raise NameUnknown(f"the graph has no node {name!r}{did_you_mean(name, names)}")
        return found

    def nudge(self, name: str, step: float) -> Nudge:
        """Return what the gradient predicts for a small change of any node, and what truly happens.

        Args:
            name: of a node, or its form.
            step: h, what is added to its value.

        Raises:
            NameUnknown: there is no such node.
            OptionInvalid: the output has no value there.

        >>> print(expression_graph("(x + y) * z", x=-2, y=5, z=-4).nudge("x", 1))
        x + 1: predicted -16 = -12 + (-4) * 1, true -16
        """
        moved = self.node(name)
        if not math.isfinite(step):
            raise OptionInvalid(f"a nudge must be a finite number, got {step}")
        values: dict[Scalar, float] = {}
        for scalar in self._order:
            if self._names[scalar] == moved.name:
                values[scalar] = scalar.value + step
            elif scalar.operation is not None:
                operands = [values.get(one, one.value) for one in scalar.operands]
                values[scalar] = value_of(scalar.operation, operands)
        return Nudge(
            node=moved.name,
            step=step,
            slope=moved.gradient,
            before=self.value,
            predicted=self.value + moved.gradient * step,
            true=values.get(self._order[-1], self.value),
        )

    def sketch(self) -> Sketch:
        """Return the graph as boxes and arrows, for `pictures.graph`."""
        last = self.nodes[-1].name
        boxes = [
            Box(
                key=node.name,
                title=node.name if node.operation == "input" else _symbol(node.gate),
                kind="input" if node.operation == "input" else "output" if node.name == last else "operation",
                above=number(node.value),
                below=number(node.gradient),
                detail=node.name if node.operation == "input" else f"{node.name} = {node.form}",
            )
            for node in self.nodes
        ]
        joined: dict[tuple[str, str], list[str]] = {}
        for edge in self.edges:
            joined.setdefault((edge.source, edge.target), []).append(number(edge.local))
        arrows = [Arrow(*ends, " + ".join(locals_)) for ends, locals_ in joined.items()]
        return Sketch(self.title, ("values", "gradients", "local gradients"), boxes, arrows, self._notes)

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as plain data for JSON."""
        return {
            "expression": self.title,
            "value": self.value,
            "gradients": self.gradients,
            "nodes": [vars(node) for node in self.nodes],
            "edges": [vars(edge) for edge in self.edges],
        }

    def __str__(self) -> str:
        """Return it as a tree for the terminal, from the output down to the inputs."""
        return "\n".join([tree(self.nodes, self.edges), *(f"note: {note}" for note in self._notes)])

    @property
    def _notes(self) -> list[str]:
        kinks = [node.name for node in self.nodes if node.is_at_kink]
        said = "stands exactly at a kink, where one of its two local gradients, or their mean, was taken"
        return [f"{name} {said}" for name in kinks]

    def _node(self, scalar: Scalar, gradient: float) -> Node:
        name = self._names[scalar]
        if scalar.operation is None:
            return Node(name, "input", name, "", scalar.value, gradient, False)
        constants = [number(one.value) if one.is_constant else "" for one in scalar.operands]
        written = [f"({text})" if text.startswith("-") else text for text in constants]
        operands = zip(written, scalar.operands, strict=True)
        form = scalar.operation.write([text or self._names[one] for text, one in operands])
        gate = scalar.operation.write([text or "·" for text in written]) if any(written) else scalar.operation.symbol
        values = [one.value for one in scalar.operands]
        is_at_kink = scalar.operation.is_at_kink(values)
        return Node(name, scalar.operation.symbol, form, gate, scalar.value, gradient, is_at_kink)


def expression_graph(
    expression: str | Scalar, values: Mapping[str, SupportsFloat] | None = None, /, **named: SupportsFloat
) -> ExpressionGraph:
    """Return the graph of an expression.

    Args:
        expression: text such as `"(x + y) * z"` or `"q = x + y; q * z"`, with + - * / **, exp, log, sqrt, sin, cos,
            sigmoid, tanh, relu, abs, max, min; or a number computed from `graph.scalar.variable`.
        values: of the inputs of a text, where their names are no words of Python's.
        named: the same as keywords.

    Raises:
        OptionInvalid: the text is no such expression, or it or a gradient has no finite value.
        NameUnknown: an input has no value, or a value no input.
    """
    if isinstance(expression, Scalar):
        return ExpressionGraph(expression)
    return ExpressionGraph(parse(expression, {**(values or {}), **named}), title=" ".join(expression.split()))


def _symbol(gate: str) -> str:
    """Return a gate as a drawing shows it."""
    return gate.replace("**", "^").replace("*", "\N{MULTIPLICATION SIGN}")


def _in_order(output: Scalar) -> list[Scalar]:
    """Return all nodes but the constants, each after what it is computed from, in the order of reading."""
    order: dict[Scalar, None] = {}
    waiting = [(output, False)]
    while waiting:  # not by recursion: a graph built in a loop may be deeper than Python's stack
        scalar, is_expanded = waiting.pop()
        if is_expanded:
            order.setdefault(scalar)
        elif scalar not in order and not scalar.is_constant:
            waiting.append((scalar, True))
            waiting += [(operand, False) for operand in reversed(scalar.operands)]
    if not order:
        raise OptionInvalid("this number is a constant and has no graph: begin from `variable`")
    return list(order)


def _named(order: list[Scalar]) -> dict[Scalar, str]:
    """Return a name for each node: its own, `f` for the output, else n1, n2, ... as far as they are free."""
    taken = [scalar.name for scalar in order if scalar.name]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise OptionInvalid(f"{twice[0]} is the name of two nodes: name them differently")
    free = (name for name in (f"n{count}" for count in range(1, 2 * len(order) + 1)) if name not in taken)
    names = {scalar: scalar.name or next(free) for scalar in order[:-1]}
    last = order[-1]
    return {**names, last: last.name or ("f" if "f" not in taken else next(free))}
