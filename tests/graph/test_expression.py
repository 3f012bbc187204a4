"""The graph of a scalar expression against printed numbers, torch's autograd and complex steps."""

import cmath
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from trainwell.errors import NameUnknown, OptionInvalid
from trainwell.graph import expression_graph, function, variable
from trainwell.graph.expression import ExpressionGraph

RECTANGLE = {"x": -2, "y": 5, "z": -4}
NEURON = "1 / (1 + exp(-(w0*x0 + w1*x1 + w2)))"
WEIGHTS = {"w0": 2, "x0": -1, "w1": -3, "x1": -2, "w2": -3}


def of_tensors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, for numbers too."""
    return lambda *numbers: function(*(torch.as_tensor(number, dtype=torch.float64) for number in numbers))


TORCH = {
    name: of_tensors(getattr(torch, {"max": "maximum", "min": "minimum"}.get(name, name)))
    for name in ("exp", "log", "sqrt", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "max", "min")
}


def random_expression(random: np.random.Generator, depth: int) -> str:
    """An expression in x, y, z whose value and derivatives are finite for inputs in [0.5, 2]."""
    if depth == 0:
        return str(random.choice(["x", "y", "z", "x", "y", "0.7", "3"]))
    part = [random_expression(random, depth - 1) for _ in range(2)]
    kinds = [
        f"({part[0]} + {part[1]})",
        f"({part[0]} - {part[1]})",
        f"({part[0]} * {part[1]})",
        f"({part[0]} / (1.5 + cos({part[1]})))",
        f"(-{part[0]})",
        f"sigmoid({part[0]})",
        f"tanh({part[0]})",
        f"relu({part[0]})",
        f"max({part[0]}, {part[1]})",
        f"min({part[0]}, {part[1]})",
        f"exp(sin({part[0]}))",
        f"log(2 + abs({part[0]}))",
        f"sqrt(1 + {part[0]} ** 2)",
        f"(1 + abs({part[0]})) ** sin({part[1]})",
    ]
    return str(random.choice(kinds))


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions_have_the_values_and_gradients_of_torch(seed: int) -> None:
    random = np.random.default_rng(seed)
    text = f"x * y + z + {random_expression(random, 4)}"
    values = {name: float(random.uniform(0.5, 2)) for name in "xyz"}
    leaves = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    names = {**TORCH, **leaves}
    tensor = eval(text, {"__builtins__": {}}, names)
    tensor.backward()
    graph = expression_graph(text, values)
    assert graph.value == pytest.approx(tensor.item(), rel=1e-12, abs=1e-12)
    for name, leaf in leaves.items():
        assert graph.gradients[name] == pytest.approx(leaf.grad.item(), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sin", "cos", "tanh"])
def test_a_function_has_the_derivative_of_its_complex_step(name: str) -> None:
    for x in (0.3, 1.7, 2.9):
        exact = getattr(cmath, name)(complex(x, 1e-30)).imag / 1e-30
        assert expression_graph(f"{name}(x)", x=x).gradients["x"] == pytest.approx(exact, rel=1e-14)


def test_the_printed_rectangle_has_its_printed_gradients() -> None:
    graph = expression_graph("(x + y) * z", **RECTANGLE)
    assert graph.value == -12
    assert graph.gradients == {"x": -4, "y": -4, "z": 3}
    assert [(edge.source, edge.target, edge.local) for edge in graph.edges] == [
        ("x", "n1", 1),
        ("y", "n1", 1),
        ("n1", "f", -4),
        ("z", "f", 3),
    ]


@pytest.mark.parametrize(("name", "predicted"), [("x", -16), ("y", -16), ("z", -9)])
def test_a_nudge_by_1_is_predicted_as_printed(name: str, predicted: float) -> None:
    assert expression_graph("(x + y) * z", **RECTANGLE).nudge(name, 1).predicted == predicted


def test_the_sigmoid_neuron_has_its_printed_numbers() -> None:
    graph = expression_graph(NEURON, WEIGHTS)
    assert round(graph.value, 2) == 0.73
    printed = {"w0": -0.20, "w1": -0.39, "w2": 0.20, "x0": 0.39, "x1": -0.59}
    assert {name: round(value, 2) for name, value in graph.gradients.items()} == printed
    whole = expression_graph("sigmoid(w0*x0 + w1*x1 + w2)", WEIGHTS)
    assert whole.gradients == pytest.approx(graph.gradients, rel=1e-14)


def test_a_gradient_is_the_sum_over_all_that_use_a_node() -> None:
    graph = expression_graph("q = x * y; q*q + 3*q + q", x=2, y=5)
    assert graph.node("q").gradient == 2 * 10 + 4
    assert graph.gradients == {"x": 24 * 5, "y": 24 * 2}


def test_the_truth_of_a_nudge_is_computed_anew() -> None:
    moved = expression_graph("q = x * x; q * y", x=3, y=2).nudge("q", -1)
    assert (moved.predicted, moved.true) == (16, 16)
    moved = expression_graph("q = x * x; q * y", x=3, y=2).nudge("x", 1)
    assert (moved.predicted, moved.true) == (30, 32)
    assert "predicted 30 = 18 + 12 * 1, true 32" in str(moved)


def test_a_nudge_of_the_output_is_the_nudge() -> None:
    assert expression_graph("x * 2", x=1).nudge("f", 0.5).true == 2.5


def test_a_node_is_found_by_its_form() -> None:
    assert expression_graph("(x + y) * z", **RECTANGLE).node("x + y").gradient == -4


def test_operators_build_the_same_graph_as_text() -> None:
    x, y = variable("x", 0.5), variable("y", 2)
    built = ExpressionGraph((2 - x) ** 2 / y + function("tanh", 3 * x) - abs(-y) + 1 / x + 2**x)
    text = expression_graph("(2-x)**2/y + tanh(3*x) - abs(-y) + 1/x + 2**x", x=0.5, y=2)
    assert built.value == text.value
    assert built.gradients == text.gradients


def test_a_graph_deeper_than_pythons_stack_is_differentiated() -> None:
    x = y = variable("x", 1.0)
    for _ in range(5000):
        y = y + x
    assert ExpressionGraph(y).gradients == {"x": 5001}


def test_constants_are_part_of_their_gate() -> None:
    graph = expression_graph("1 / x - 2 * pi", x=4)
    assert [node.gate for node in graph.nodes] == ["", "1 / ·", "· - 6.283"]


@pytest.mark.parametrize(("text", "gradient"), [("relu(x)", 0), ("abs(x)", 0), ("max(x, 0)", 0.5), ("min(x, x)", 1)])
def test_at_a_kink_torch_is_followed_and_it_is_said(text: str, gradient: float) -> None:
    leaf = torch.zeros((), dtype=torch.float64, requires_grad=True)
    eval(text, {"__builtins__": {}}, {**TORCH, "x": leaf}).backward()
    graph = expression_graph(text, x=0)
    assert graph.gradients["x"] == gradient == leaf.grad.item()
    assert "kink" in str(graph)


def test_the_tree_shows_value_gradient_and_local_gradient() -> None:
    lines = str(expression_graph("(x + y) * z", **RECTANGLE)).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["f", "=", "n1", "*", "z", "-12", "1"],
        ["├─", "n1", "=", "x", "+", "y", "3", "-4", "df/dn1", "=", "-4"],
    ]


def test_what_is_used_twice_is_drawn_once() -> None:
    assert str(expression_graph("q = x * 2; q * q", x=1)).count("q = x * 2") == 1


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("x / y", {"x": 1, "y": 0}, "1 / 0 has no value: it divides by zero"),
        ("exp(x)", {"x": 1000}, "exp(1000) has no value: it is larger than a float64 can hold"),
        ("x * x", {"x": 1e200}, "is larger than a float64 can hold"),
        ("log(x)", {"x": -1}, "log(-1) has no value: it is not a real number"),
        ("x ** 0.5", {"x": -1}, "(-1) ** 0.5 has no value: it is not a real number"),
        ("sqrt(x)", {"x": 0}, "sqrt(0) has no derivative: it divides by zero"),
        ("x ** y", {"x": -2, "y": 2}, "(-2) ** 2 has no derivative with respect to operand 2"),
        ("x +", {"x": 1}, "is not an expression"),
        ("", {}, "there is no expression"),
        ("2 + 3", {}, "has no inputs"),
        ("x ^ 2", {"x": 1}, "a power is written **"),
        ("'x' * x", {"x": 1}, "cannot stand in an expression"),
        ("x.real", {"x": 1}, "cannot stand in an expression"),
        ("[x for x in x]", {"x": 1}, "cannot stand in an expression"),
        ("x * True", {"x": 1}, "cannot stand in an expression"),
        ("import os", {}, "cannot stand in an expression"),
        ("exp(x, x)", {"x": 1}, "exp takes one operand, got 2"),
        ("max(x)", {"x": 1}, "max takes two operands or more, got 1"),
        ("9**9**9**9 * x", {"x": 1}, "is larger than a float64 can hold"),
        ("+".join(["x"] * 999), {"x": 1}, "parts"),
        ("(" * 300 + "x" + ")" * 300, {"x": 1}, "is not an expression"),
        ("x", {"x": "cat"}, "x must be a finite number, got 'cat'"),
        ("x", {"x": math.nan}, "x must be a finite number"),
        ("q = x; x * 2", {"x": 1, "q": 2}, "q is computed in the expression and given a value too"),
        ("q = 2 * x; q = q + 1; q", {"x": 1}, "q is the name of two nodes"),
    ],
)
def test_what_cannot_be_computed_is_said(text: str, values: dict[str, object], words: str) -> None:
    with pytest.raises(OptionInvalid) as caught:
        expression_graph(text, values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("x + y + z", {"x": 1}, "the expression needs a value for y, z: add y=... z=..."),
        ("weight + 1", {"wieght": 1}, "the expression has no input 'wieght': did you mean 'weight'?"),
        ("tan(x)", {"x": 1}, "there is no function 'tan': did you mean 'tanh'?"),
        ("__import__(x)", {"x": 1}, "there is no function '__import__'"),
        ("q + 1; q = x", {"x": 1}, "q is used before it has a value"),
    ],
)
def test_a_name_that_is_not_there_is_said(text: str, values: dict[str, float], words: str) -> None:
    with pytest.raises(NameUnknown) as caught:
        expression_graph(text, values)
    assert words in str(caught.value)


def test_a_node_that_is_not_there_is_said() -> None:
    with pytest.raises(NameUnknown, match="the graph has no node 'w'"):
        expression_graph("x * 2", x=1).nudge("w", 1)


def test_an_input_may_have_the_name_of_a_function() -> None:
    assert expression_graph("max * exp(max)", max=0).gradients == {"max": 1}
