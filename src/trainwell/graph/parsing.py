"""From the text of an expression to its graph: read as Python's grammar, never run as Python.

>>> parse("q = x + y; q * z", {"x": -2, "y": 5, "z": -4}).value
-12.0
"""

import ast
import math
from collections.abc import Mapping
from typing import SupportsFloat

from trainwell.errors import NameUnknown, OptionInvalid, did_you_mean
from trainwell.graph.operations import FUNCTIONS, NEGATE, OPERATORS
from trainwell.graph.scalar import Scalar, apply, function, variable

MOST_PARTS = 400  # of the grammar: deeper texts would exhaust the reader's own stack
CONSTANTS = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
_ALLOWED = f"numbers, names, + - * / **, brackets, {', '.join(FUNCTIONS)}, and q = ...; to name a part"


def parse(text: str, values: Mapping[str, SupportsFloat]) -> Scalar:
    """Return the last expression of a text as a node that remembers how it was computed.

    Args:
        text: one expression, or several lines (or parts between `;`) of which all but the last name a part.
        values: of the inputs; `pi` and `e` are known unless they are given.

    Raises:
        OptionInvalid: the text is not such an expression, or it has no finite value.
        NameUnknown: a name has no value, or a value has no name in the text.
    """
    lines = _lines(text)
    assigned = {target.id for line in lines for target in _targets(line)}
    _require_values({name for line in lines for name in _names_read(line)} - assigned, assigned, values)
    known: dict[str, Scalar | float] = {**CONSTANTS, **{name: variable(name, value) for name, value in values.items()}}
    result: Scalar | float = math.nan
    for line in lines:
        body = line.value if isinstance(line, (ast.Expr, ast.Assign)) else None
        if body is None:
            raise _not_allowed(line)
        result = _read(body, known)
        for target in _targets(line):
            if isinstance(result, Scalar) and result.operation is not None and not result.name:
                result = result.named(target.id)  # a second name for the same thing is no second node
            known[target.id] = result
    if not isinstance(result, Scalar) or result.is_constant:
        raise OptionInvalid(f"{text!r} has no inputs: name one, such as x, and give it a value, x=1")
    return result


def _lines(text: str) -> list[ast.stmt]:
    try:
        lines = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise OptionInvalid(f"{text[:80]!r} is not an expression: write it like (x + y) * z") from error
    if not lines:
        raise OptionInvalid("there is no expression: write one like (x + y) * z")
    parts = sum(1 for line in lines for _ in ast.walk(line))
    if parts > MOST_PARTS:
        raise OptionInvalid(f"the expression has {parts:,} parts, and at most {MOST_PARTS} can be read: take a shorter")
    return lines


def _targets(line: ast.stmt) -> list[ast.Name]:
    """Return the names that a line gives to its value."""
    if not isinstance(line, ast.Assign):
        return []
    names = [target for target in line.targets if isinstance(target, ast.Name)]
    if len(names) < len(line.targets):
        raise _not_allowed(line)
    return names


def _names_read(line: ast.stmt) -> set[str]:
    """Return the names whose values a line needs; those of functions that it calls are not among them."""
    parts = list(ast.walk(line))
    called = [part.func for part in parts if isinstance(part, ast.Call)]
    return {
        part.id for part in parts if isinstance(part, ast.Name) and type(part.ctx) is ast.Load and part not in called
    }


def _require_values(needed: set[str], assigned: set[str], values: Mapping[str, SupportsFloat]) -> None:
    missing = sorted(needed - set(values) - set(CONSTANTS))
    unused = sorted(set(values) - needed)
    twice = sorted(assigned & set(values))
    if twice:
        raise OptionInvalid(f"{twice[0]} is computed in the expression and given a value too: leave one of them out")
    if unused:
        raise NameUnknown(f"the expression has no input {unused[0]!r}{did_you_mean(unused[0], needed)}")
    if missing:
        wanted = " ".join(f"{name}=..." for name in missing)
        raise NameUnknown(f"the expression needs a value for {', '.join(missing)}: add {wanted}")


def _read(part: ast.expr, known: Mapping[str, Scalar | float]) -> Scalar | float:
    """Return the value of a part of the grammar; what is not named here is refused."""
    match part:
        case ast.Constant(value=bool()):
            raise _not_allowed(part)
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            if name not in known:
                raise NameUnknown(f"{name} is used before it has a value")
            return known[name]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _read(operand, known)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return apply(NEGATE, _read(operand, known))
        case ast.BinOp(op=ast.BitXor()):
            raise OptionInvalid(f"{ast.unparse(part)}: a power is written **, not ^")
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return apply(OPERATORS[_OPERATORS[type(operator)]], _read(left, known), _read(right, known))
        case ast.Call(func=ast.Name(id=name), args=operands, keywords=[]):
            if name not in FUNCTIONS:
                raise NameUnknown(f"there is no function {name!r}{did_you_mean(name, FUNCTIONS)}")
            return function(name, *(_read(operand, known) for operand in operands))
    raise _not_allowed(part)


def _not_allowed(part: ast.AST) -> OptionInvalid:
    return OptionInvalid(f"{ast.unparse(part)[:80]!r} cannot stand in an expression: it may hold {_ALLOWED}")
