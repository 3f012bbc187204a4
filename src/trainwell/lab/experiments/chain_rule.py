"""Does the chain rule on an explicit graph give the printed gradients, whatever the gates that it goes through?

Source: Stanford cs231n, lecture notes "Backpropagation, intuitions": f = (x + y) z, and the sigmoid neuron.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from trainwell.core.shelves import experiments
from trainwell.graph.expression import ExpressionGraph, expression_graph
from trainwell.lab.experiment import Check, Experiment, Table, Values
from trainwell.lab.judging import half_digit, shown
from trainwell.pictures.graph import computation

RECTANGLE, POINT = "(x + y) * z", {"x": -2.0, "y": 5.0, "z": -4.0}
LINE, NEURON = "w1*x1 + w2*x2 + b", {"w1": 2.0, "w2": -3.0, "b": -3.0, "x1": -1.0, "x2": -2.0}
GATES, ONE_GATE = f"1 / (1 + exp(-1 * ({LINE})))", f"sigmoid({LINE})"
SUM, ELEMENTARY, WHOLE = "f = (x + y) z", "neuron of elementary gates", "neuron of one sigmoid gate"
ARMS: dict[str, dict[str, Any]] = {
    SUM: {"expression": RECTANGLE, "values": POINT},
    ELEMENTARY: {"expression": GATES, "values": NEURON},
    WHOLE: {"expression": ONE_GATE, "values": NEURON},
}
PRINTED = {"b": "0.20", "w1": "-0.20", "w2": "-0.39", "x1": "0.39", "x2": "-0.59"}
ROUNDING = 1e-15


@experiments.card(source='cs231n, "Backpropagation, intuitions"', claims=(1,))
def chain_rule() -> Experiment:
    """The printed gradients come out exactly, and elementary gates give what one sigmoid gate gives."""
    return Experiment(
        question="Does the chain rule, gate by gate, give the printed gradients, and do nudges follow them?",
        arms=ARMS,
        measure=measure,
        judge=judge,
        figures=figures,
        seeds=1,
        note="Nothing is drawn at random. The neuron: w = (2, -3), bias -3, inputs (-1, -2), so that its sum is 1.",
    )


def measure(settings: Mapping[str, Any], seed: int, is_quick: bool) -> Values:
    """Return value, gradients, nudges of each input by 1, and the local gradients of gates with one operand."""
    graph = expression_graph(settings["expression"], settings["values"])
    moved = {name: graph.nudge(name, 1.0) for name in settings["values"]}
    return {
        "f": graph.value,
        **{f"gradient of {name}": gradient for name, gradient in graph.gradients.items()},
        **{f"{name} + 1, predicted": one.predicted for name, one in moved.items()},
        **{f"{name} + 1, true": one.true for name, one in moved.items()},
        **_gates(graph),
    }


def _gates(graph: ExpressionGraph) -> dict[str, float]:
    """Return what each gate of one operand was given, and its local gradient there."""
    nodes = {node.name: node for node in graph.nodes}
    reading = [edge.target for edge in graph.edges]
    found: dict[str, float] = {}
    for edge in graph.edges:
        if reading.count(edge.target) == 1:
            gate = nodes[edge.target].gate
            found |= {f"into {gate}": nodes[edge.source].value, f"local gradient of {gate}": edge.local}
    return found


def judge(table: Table) -> list[Check]:
    """Hold the sum to its printed numbers exactly, the neurons to rounded ones and to each other."""

    def number(arm: str, name: str) -> float:
        return float(table.numbers(arm, name)[0])

    checks = [_exact(SUM, "f", "-12", number(SUM, "f"))]
    for name, printed in (("x", "-4"), ("y", "-4"), ("z", "3")):
        checks.append(_exact(SUM, f"∂f/∂{name}", printed, number(SUM, f"gradient of {name}")))
    for name, printed in (("x", "-16"), ("y", "-16"), ("z", "-9")):
        checks.append(_exact(SUM, f"{name} + 1 predicts", printed, number(SUM, f"{name} + 1, predicted")))
        checks.append(_exact(SUM, f"{name} + 1 gives", printed, number(SUM, f"{name} + 1, true")))
    for arm in (ELEMENTARY, WHOLE):
        checks.append(_rounded(f"{arm}: sigmoid(1)", "0.731", number(arm, "f")))
        for name, printed in PRINTED.items():
            checks.append(_rounded(f"{arm}: ∂f/∂{name}", printed, number(arm, f"gradient of {name}")))
    checks += [_rounded(f"local gradient of {gate}", *pair) for gate, pair in _local_gradients(table).items()]
    names = ["f", *(f"gradient of {name}" for name in NEURON)]
    apart = max(abs(number(ELEMENTARY, name) - number(WHOLE, name)) for name in names)
    same = Check(
        "both neurons: value and all gradients", "the same", f"{apart:.1g} apart", f"{ROUNDING:g}", apart <= ROUNDING
    )
    return [*checks, same]


def _local_gradients(table: Table) -> dict[str, tuple[str, float]]:
    """Return gate -> printed and found local gradient, as in the notes: times a, plus c, exp, 1/x."""
    printed = {"-1 * (1)": "-1", "exp(-1)": "0.37", "1 + 0.37": "1", "1 / 1.37": "-0.53"}
    gates = ("(-1) * ·", "exp", "1 + ·", "1 / ·")
    found = [float(table.numbers(ELEMENTARY, f"local gradient of {gate}")[0]) for gate in gates]
    return {name: (text, value) for (name, text), value in zip(printed.items(), found, strict=True)}


def _exact(arm: str, what: str, printed: str, found: float) -> Check:
    return Check(f"{arm}: {what}", printed, shown(found), "exact", found == float(printed))


def _rounded(claim: str, printed: str, found: float) -> Check:
    holds = abs(found - float(printed)) <= half_digit(printed)
    return Check(claim, printed, shown(found), "half the last printed digit", holds)


def figures(table: Table) -> Sequence[go.Figure]:
    """Draw the three graphs."""
    drawn = []
    for name, settings in ARMS.items():
        shown_graph = computation(expression_graph(settings["expression"], settings["values"]).sketch())
        caption = "Values above the nodes, gradients below, local gradients on the edges."
        drawn.append(shown_graph.update_layout(meta={"title": name, "caption": caption}))
    return drawn
