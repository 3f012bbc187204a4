"""The elementary operations of a scalar graph, each with its value and its local gradients.

Where a function has a kink the choice is torch's: relu'(0) = 0, |x|' = 0 at 0, and equal operands of max and min
share the gradient.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Values = Sequence[float]


@dataclass(frozen=True, eq=False)
class Operation:
    """What a gate does with its operands.

    Attributes:
        symbol: what stands in the gate: `+`, `exp`.
        pattern: how it is written with its operands: `{0} + {1}`; empty for a function of any number of operands.
        value: operands -> result.
        local: (operands, result, position) -> derivative of the result with respect to the operand at the position.
        is_at_kink: whether the derivative jumps exactly here.
    """

    symbol: str
    pattern: str
    value: Callable[[Values], float]
    local: Callable[[Values, float, int], float]
    is_at_kink: Callable[[Values], bool] = lambda values: False

    def write(self, operands: Sequence[str]) -> str:
        """Write it with its operands.

        >>> OPERATORS["/"].write(["1", "x"]), FUNCTIONS["max"].write(["x", "y", "z"])
        ('1 / x', 'max(x, y, z)')
        """
        return self.pattern.format(*operands) if self.pattern else f"{self.symbol}({', '.join(operands)})"


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)) without overflow on either side.

    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    small = math.exp(x)
    return small / (1 + small)


def _function(symbol: str, value: Callable[[float], float], local: Callable[[float, float], float]) -> Operation:
    """Return a function of one operand from its value f(x) and its derivative f'(x, f(x))."""
    return Operation(symbol, "", lambda v: value(v[0]), lambda v, result, position: local(v[0], result))


def _kinked(symbol: str, value: Callable[[float], float], local: Callable[[float], float]) -> Operation:
    return Operation(symbol, "", lambda v: value(v[0]), lambda v, result, p: local(v[0]), lambda v: v[0] == 0)


def _choosing(symbol: str, choose: Callable[[Values], float]) -> Operation:
    def local(values: Values, result: float, position: int) -> float:
        return 1 / sum(value == result for value in values) if values[position] == result else 0.0

    return Operation(symbol, "", choose, local, lambda v: sum(value == choose(v) for value in v) > 1)


def _power_local(values: Values, result: float, position: int) -> float:
    base, exponent = values
    if position == 0:
        return exponent * base ** (exponent - 1) if exponent else 0.0
    return 0.0 if base == 0 and exponent > 0 else result * math.log(base)


OPERATORS = {
    "+": Operation("+", "{0} + {1}", lambda v: v[0] + v[1], lambda v, result, position: 1.0),
    "-": Operation("-", "{0} - {1}", lambda v: v[0] - v[1], lambda v, result, position: (1.0, -1.0)[position]),
    "*": Operation("*", "{0} * {1}", lambda v: v[0] * v[1], lambda v, result, position: v[1 - position]),
    "/": Operation(
        "/",
        "{0} / {1}",
        lambda v: v[0] / v[1],
        lambda v, result, position: 1 / v[1] if position == 0 else -result / v[1],
    ),
    "**": Operation("**", "{0} ** {1}", lambda v: v[0] ** v[1], _power_local),
}
NEGATE = Operation("-", "-{0}", lambda v: -v[0], lambda v, result, position: -1.0)

FUNCTIONS = {
    operation.symbol: operation
    for operation in (
        _function("exp", math.exp, lambda x, result: result),
        _function("log", math.log, lambda x, result: 1 / x),
        _function("sqrt", math.sqrt, lambda x, result: 0.5 / result),
        _function("sin", math.sin, lambda x, result: math.cos(x)),
        _function("cos", math.cos, lambda x, result: -math.sin(x)),
        _function("sigmoid", sigmoid, lambda x, result: result * (1 - result)),
        _function("tanh", math.tanh, lambda x, result: 1 - result * result),
        _kinked("relu", lambda x: max(x, 0.0), lambda x: float(x > 0)),
        _kinked("abs", abs, lambda x: float((x > 0) - (x < 0))),
        _choosing("max", max),
        _choosing("min", min),
    )
}
ANY_NUMBER = ("max", "min")  # functions of two operands and more; all others take one
