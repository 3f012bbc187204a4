"""Computational graphs: values, local and accumulated gradients, checked numerically.

`expression_graph` for a scalar expression, `network_graph` for any network, `numerical_gradient` and
`check_gradients` by central differences. Names are imported when they are first used: an expression needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwell.graph.checking import GradientCheck, check_gradients
    from trainwell.graph.expression import ExpressionGraph, expression_graph
    from trainwell.graph.network import NetworkGraph, network_graph
    from trainwell.graph.numerical import numerical_gradient
    from trainwell.graph.scalar import Scalar, function, variable

_HOMES = {
    "ExpressionGraph": "expression",
    "GradientCheck": "checking",
    "NetworkGraph": "network",
    "Scalar": "scalar",
    "check_gradients": "checking",
    "expression_graph": "expression",
    "function": "scalar",
    "network_graph": "network",
    "numerical_gradient": "numerical",
    "variable": "scalar",
}

__all__ = [
    "ExpressionGraph",
    "GradientCheck",
    "NetworkGraph",
    "Scalar",
    "check_gradients",
    "expression_graph",
    "function",
    "network_graph",
    "numerical_gradient",
    "variable",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"trainwell.graph.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'trainwell.graph' has no attribute {name!r}")
