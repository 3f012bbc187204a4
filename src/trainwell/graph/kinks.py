"""On which side of its kinks a network stands: two inputs with the same sides have no kink between them.

A central difference across a kink of ReLU, max pooling, a hinge or |x| is neither of the two slopes there, so it is
no evidence against a gradient. Every operation below autograd is seen, also inside fused and user-written functions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Arguments = Sequence[Any]


def _at_zero(arguments: Arguments) -> list[Tensor]:
    return [arguments[0] > 0]


def _at_bounds(*defaults: float | None) -> Callable[[Arguments], list[Tensor]]:
    """Return the sides of the bounds that stand after the input, or of the defaults where they are left out."""

    def sides(arguments: Arguments) -> list[Tensor]:
        bounds = list(arguments[1 : 1 + len(defaults)])
        bounds += defaults[len(bounds) :]
        return [arguments[0] > bound for bound in bounds if bound is not None]

    return sides


def _at_shrinking(arguments: Arguments) -> list[Tensor]:
    edge = arguments[1] if len(arguments) > 1 else 0.5
    return [arguments[0] > edge, arguments[0] > -edge]


def _at_elu(arguments: Arguments) -> list[Tensor]:
    alpha, _, input_scale = (list(arguments[1:]) + [1.0, 1.0, 1.0][len(arguments) - 1 :])[:3]
    return [arguments[0] > 0] if alpha * input_scale != 1 else []  # else the slopes meet at 0


def _which_is_larger(arguments: Arguments) -> list[Tensor]:
    return [arguments[0] > arguments[1]]


def _where_largest(arguments: Arguments) -> list[Tensor]:
    dims = arguments[1] if len(arguments) > 1 else ()
    rest = arguments[0].movedim(tuple(dims), tuple(range(-len(dims), 0))).flatten(-len(dims)) if dims else arguments[0]
    return [rest.argmax(-1) if dims else rest.argmax()]


def _where_smallest(arguments: Arguments) -> list[Tensor]:
    return _where_largest([-arguments[0], *arguments[1:]])


_SIDES: Mapping[str, Callable[[Arguments], list[Tensor]]] = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "_prelu_kernel", "rrelu_with_noise", "abs"), _at_zero),
    **dict.fromkeys(("clamp_min", "clamp_max", "threshold"), _at_bounds(0.0)),
    **dict.fromkeys(("hardsigmoid", "hardswish"), lambda arguments: [arguments[0] > 3, arguments[0] > -3]),
    **dict.fromkeys(("hardshrink", "softshrink"), _at_shrinking),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _which_is_larger),
    "clamp": _at_bounds(None, None),
    "hardtanh": _at_bounds(-1.0, 1.0),
    "elu": _at_elu,
    "amax": _where_largest,
    "amin": _where_smallest,
}


class KinkSides(TorchDispatchMode):
    """While it is on, remembers on which side of each kink every number stands.

    >>> def sides(x):
    ...     with KinkSides() as seen:
    ...         torch.relu(torch.tensor(x))
    ...     return seen
    >>> sides([1.0, -1.0]).crossings(sides([2.0, -3.0])), sides([1.0, -1.0]).crossings(sides([1.0, 1.0]))
    (0, 1)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sides: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the sides of one operation and let it run."""
        name = func.overloadpacket.__name__.removesuffix("_")
        floats = [one for one in args if isinstance(one, Tensor) and one.is_floating_point()]
        is_whole = name in ("max", "min") and len(args) == 1
        if floats and (name in _SIDES or is_whole):  # before it runs: an in-place one overwrites its input
            find = _SIDES.get(name, _where_largest if name == "max" else _where_smallest)
            self._sides += [side.clone() for side in find([*args, *(kwargs or {}).values()])]
        result = func(*args, **(kwargs or {}))
        answers = result if isinstance(result, (tuple, list)) else (result,)
        if floats:  # comparisons, and the places that max pooling, sorting and their like have chosen
            discrete = (torch.bool, torch.int64)
            self._sides += [one.clone() for one in answers if isinstance(one, Tensor) and one.dtype in discrete]
        return result

    def crossings(self, other: "KinkSides") -> int:
        """Return how many numbers stand on another side; where the operations themselves differ, at least 1."""
        if [side.shape for side in self._sides] != [side.shape for side in other._sides]:
            return 1
        return sum(int((a != b).sum()) for a, b in zip(self._sides, other._sides, strict=True))
