"""A number that remembers how it was computed, so that its graph can be drawn and differentiated.

    >>> x, y, z = variable("x", -2), variable("y", 5), variable("z", -4)
    >>> ((x + y) * z).value
    -12.0

Operators and the functions of `operations` work on these numbers and on plain ones beside them, which are constants.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import SupportsFloat

from trainwell.errors import OptionInvalid
from trainwell.graph.operations import ANY_NUMBER, FUNCTIONS, NEGATE, OPERATORS, Operation


@dataclass(frozen=True, eq=False)
class Scalar:
    """A node of a graph: a leaf, or an operation on other nodes.

    Attributes:
        value: the number, finite.
        name: of an input, or given to an intermediate result by `named`; else empty.
        operation: None for a leaf.
        operands: what the operation works on.
    """

    value: float
    name: str = ""
    operation: Operation | None = None
    operands: tuple["Scalar", ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether nothing that it is made of has a name: constants are part of a gate, not nodes."""
        return self.operation is None and not self.name

    def named(self, name: str) -> "Scalar":
        """Return the same number under a name, for an intermediate result that is shown or nudged."""
        return Scalar(self.value, name, self.operation, self.operands)

    def __add__(self, other: "Scalar | float") -> "Scalar":
        return apply(OPERATORS["+"], self, other)

    def __radd__(self, other: float) -> "Scalar":
        return apply(OPERATORS["+"], other, self)

    def __sub__(self, other: "Scalar | float") -> "Scalar":
        return apply(OPERATORS["-"], self, other)

    def __rsub__(self, other: float) -> "Scalar":
        return apply(OPERATORS["-"], other, self)

    def __mul__(self, other: "Scalar | float") -> "Scalar":
        return apply(OPERATORS["*"], self, other)

    def __rmul__(self, other: float) -> "Scalar":
        return apply(OPERATORS["*"], other, self)

    def __truediv__(self, other: "Scalar | float") -> "Scalar":
        return apply(OPERATORS["/"], self, other)

    def __rtruediv__(self, other: float) -> "Scalar":
        return apply(OPERATORS["/"], other, self)

    def __pow__(self, other: "Scalar | float") -> "Scalar":
        return apply(OPERATORS["**"], self, other)

    def __rpow__(self, other: float) -> "Scalar":
        return apply(OPERATORS["**"], other, self)

    def __neg__(self) -> "Scalar":
        return apply(NEGATE, self)

    def __abs__(self) -> "Scalar":
        return function("abs", self)


def variable(name: str, value: SupportsFloat) -> Scalar:
    """Return an input of a graph.

    Raises:
        OptionInvalid: the name is not a word, or the value is not a finite number.
    """
    if not name.isidentifier():
        raise OptionInvalid(f"an input is named by a word of letters, digits and _, got {name!r}")
    return Scalar(finite(value, name), name)


def function(name: str, *operands: "Scalar | float") -> Scalar:
    """Return exp, log, sqrt, sin, cos, sigmoid, tanh, relu, abs, max or min of numbers.

    >>> function("max", variable("x", 3), 2).value
    3.0
    """
    wanted = "two operands or more" if name in ANY_NUMBER else "one operand"
    if (len(operands) < 2) if name in ANY_NUMBER else (len(operands) != 1):
        raise OptionInvalid(f"{name} takes {wanted}, got {len(operands)}")
    return apply(FUNCTIONS[name], *operands)


def apply(operation: Operation, *operands: "Scalar | float") -> Scalar:
    """Return the result of an operation as a node of the graph; of constants alone it is a constant.

    Raises:
        OptionInvalid: the result is not a finite real number.
    """
    nodes = tuple(one if isinstance(one, Scalar) else Scalar(finite(one, "a constant")) for one in operands)
    value = value_of(operation, [node.value for node in nodes])
    if all(node.is_constant for node in nodes):
        return Scalar(value)
    return Scalar(value, "", operation, nodes)


def value_of(operation: Operation, values: Sequence[float]) -> float:
    """Return the value of an operation, or say why it has none."""
    return _guarded(operation, values, "value", lambda: operation.value(values))


def local_of(operation: Operation, values: Sequence[float], result: float, position: int) -> float:
    """Return the derivative of a result with respect to one of its operands, or say why it has none."""
    which = "derivative" if len(values) == 1 else f"derivative with respect to operand {position + 1}"
    return _guarded(operation, values, which, lambda: operation.local(values, result, position))


def _guarded(operation: Operation, values: Sequence[float], what: str, compute: Callable[[], float]) -> float:
    written = operation.write([f"({value:g})" if value < 0 and operation.pattern else f"{value:g}" for value in values])
    try:
        found = compute()
        trouble = "is not a real number" if isinstance(found, complex) or math.isnan(found) else ""
        trouble = trouble or ("is larger than a float64 can hold" if math.isinf(found) else "")
    except ZeroDivisionError:
        trouble = "divides by zero"
    except OverflowError:
        trouble = "is larger than a float64 can hold"
    except ValueError:
        trouble = "is not a real number"
    if trouble:
        raise OptionInvalid(f"{written} has no {what}: it {trouble}: choose other inputs")
    return float(found)


def finite(value: SupportsFloat, name: str) -> float:
    """Return a finite number, or say by its name what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise OptionInvalid(f"{name} must be a finite number, got {value!r}")
    return number
