"""The gradient of any function by central differences in float64, to compare a derived one with.

    df/dx_i = (f(x + h e_i) - f(x - h e_i)) / 2h + O(h^2)

It costs two evaluations an entry. The error is h^2 f'''/6 from the formula and about 1e-16 |f| / h from rounding;
h = 1e-5 balances the two where f and its derivatives are of the order of 1.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainwell.errors import OptionInvalid, ShapeError
from trainwell.graph.intact import left_intact

STEP = 1e-5
Network = Callable[..., Tensor]


def numerical_gradient(
    f: Callable[[Tensor], Tensor | float], x: Tensor | Sequence[float] | float, h: float = STEP
) -> Tensor:
    """Return the gradient of f at x by central differences.

    Args:
        f: takes a float64 tensor of the shape of x, which it must not change, and returns one number.
        x: where; it is copied.
        h: how far to each side.

    Returns:
        float64 of the shape of x.

    Raises:
        OptionInvalid: h is not positive, or f is not finite beside x.
        ShapeError: f returns more than one number.

    >>> numerical_gradient(lambda x: (x**2).sum(), [1.0, -3.0]).round(decimals=6)
    tensor([ 2., -6.], dtype=torch.float64)
    """
    point = torch.as_tensor(x).detach().to(torch.float64, copy=True).contiguous()
    with torch.no_grad():
        pairs = central_differences(lambda: one_number(f(point), "f"), point, range(point.numel()), h)
        slopes = [slope for slope, _, _ in pairs]
    return torch.tensor(slopes, dtype=torch.float64).reshape(point.shape)


def numerical_gradients(model: nn.Module, loss: Callable[[Network], Tensor], h: float = STEP) -> dict[str, Tensor]:
    """Return the gradient of a loss with respect to each parameter of a network by central differences in float64.

    Two passes an entry: for small networks; `check_gradients` takes samples. The network is left exactly as it was.

    Args:
        model: any network; a float64 copy of its parameters is moved, never they themselves.
        loss: takes the network, to be called on float64 inputs, and returns one number.
        h: how far to each side.

    >>> line = nn.Linear(2, 1, bias=False)
    >>> found = numerical_gradients(line, lambda net: net(torch.tensor([[3.0, 4.0]], dtype=torch.float64)).sum())
    >>> found["weight"].round(decimals=6)
    tensor([[3., 4.]], dtype=torch.float64)
    """
    with left_intact(model):
        double = DoubleNetwork(model)
        found = {}
        for name, parameter in double.parameters.items():
            entries = range(parameter.numel())
            pairs = central_differences(lambda: one_number(loss(double), "the loss"), parameter.detach(), entries, h)
            slopes = [slope for slope, _, _ in pairs]
            found[name] = torch.tensor(slopes, dtype=torch.float64).reshape(parameter.shape)
    return found


class DoubleNetwork:
    """A network in float64 whose answers are a function of its parameters alone.

    It runs the network's own code on float64 copies of parameters and buffers. Each call begins from the same random
    state, so dropout keeps its mask, and from the same running statistics. Call it inside `left_intact`.

    Attributes:
        parameters: name -> float64 copy that requires a gradient; tied ones stand once.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.parameters = {
            name: parameter.detach().to(torch.float64, copy=True).contiguous().requires_grad_(parameter.requires_grad)
            for name, parameter in model.named_parameters()
            if parameter.is_floating_point()
        }
        self._buffers = {name: as_double(buffer.detach()) for name, buffer in model.named_buffers()}

    def __call__(self, *inputs: Tensor) -> Tensor:
        torch.manual_seed(0)
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        answer: Tensor = functional_call(self._model, {**self.parameters, **buffers}, inputs, tie_weights=True)
        return answer


def central_differences(
    evaluate: Callable[[], float], point: Tensor, entries: Iterable[int], h: float
) -> "Iterable[tuple[float, float, float]]":
    """Yield (slope, f(x + h), f(x - h)) for each entry of a contiguous float64 tensor, which is moved in place.

    Raises:
        OptionInvalid: h is not positive, or f is not finite beside x.
    """
    if not h > 0 or not math.isfinite(h):
        raise OptionInvalid(f"h must be a positive number, got {h}: 1e-5 is usual in float64")
    flat = point.view(-1)
    for entry in entries:
        here = float(flat[entry])
        sides = here + h, here - h
        if sides[0] == sides[1]:
            raise OptionInvalid(f"h = {h:g} is lost in rounding beside {here:g}: take a larger one")
        heights = []
        for side in sides:
            flat[entry] = side
            try:
                heights.append(evaluate())
            finally:
                flat[entry] = here
        if not all(map(math.isfinite, heights)):
            raise OptionInvalid(f"the function is not finite at {here:g} ± {h:g} of entry {entry}: check it elsewhere")
        yield (heights[0] - heights[1]) / (sides[0] - sides[1]), heights[0], heights[1]


def one_number(value: Tensor | float, name: str) -> float:
    """Return what a function gave as a number, if it is one."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ShapeError(f"{name} must return one number, got shape {tuple(value.shape)}: take its sum or mean")
        return value.detach().item()
    return float(value)


def as_double(tensor: Tensor) -> Tensor:
    """Return floats as float64 and anything else as it is."""
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
