"""What the layers of a network hand on in one forward pass, copied before the next module may change it.

A *layer* is a module that owns weights. What it hands on is its output after the last activation function
that acts before the next layer does; where none acts, as behind the scores, its output itself. Activation
functions are known by the function of torch that computes them, whether a module or the network's own
`forward` calls it; by the modules of the activation shelf; and a module of a user's own without weights or
parts, whose result has the shape of its input, is taken for one.
"""

import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, float32, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from trainwell.core.catalog import Card
from trainwell.core.shelves import activations, norms
from trainwell.probes.places import ROOT, layer_of

MOST_VALUES = 1 << 16  # of one layer; of maps that hold more, so many positions are looked at, evenly spread
# A value is saturated within a fortieth of the range from an end of it: for tanh and the sigmoid that is where the
# slope is below a tenth of its largest.
END_SHARE = 1 / 40
BOUNDED: dict[str, tuple[float, float]] = {
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
UNBOUNDED = frozenset(
    "relu leaky_relu prelu rrelu elu selu celu gelu silu mish softplus hardswish log_sigmoid threshold softshrink"
    " hardshrink tanhshrink".split()
)
RESTING = frozenset({"relu6", "hardtanh"})  # those that rest at a lower end of 0, as ReLU does: that is no saturation
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)

Band = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Output:
    """What a layer hands on.

    Attributes:
        rows: (U, n) float32: n values of each of U units (features, or channels of maps).
        is_activated: whether an activation function made it.
        band: values outside are saturated; None where the activation is not bounded on both sides.
    """

    rows: Tensor
    is_activated: bool = False
    band: Band | None = None


@contextmanager
def watching(model: nn.Module) -> Iterator[Mapping[str, Output]]:
    """Collect what each layer hands on in the forward passes below; nothing is attached to the network.

    A layer that is called again is a place of its own: `fc`, then `fc#2`.
    """
    watch = _Watch(model)
    handle = register_module_forward_hook(watch.leave)
    try:
        with watch:
            yield watch.outputs
    finally:
        handle.remove()


class _Watch(TorchFunctionMode):
    """Sees every function of torch that is called, and every module of one network that is left."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.outputs: dict[str, Output] = {}
        self._layers = _layers(model)
        self._modules = set(model.modules())
        self._shelf, self._norms = _shelf(len(list(activations)) + len(list(norms)))
        self._calls: dict[str, int] = {}
        self._place, self._unit_dim = "", 1

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function, and look at its result where it is an activation function."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").rstrip("_")
        if name in UNBOUNDED:
            self._take(result, is_activated=True)
        elif name in BOUNDED:
            self._take(result, is_activated=True, band=_band(name, args[1:], kwargs or {}))
        return result

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Look at what a layer, or a module that is an activation, returned."""
        if module in self._layers:
            place, self._unit_dim = self._layers[module]
            calls = self._calls[place] = self._calls.get(place, 0) + 1
            self._place = place if calls == 1 else f"{place}#{calls}"
            self._take(output)
        elif module in self._modules and self._is_activation(module, args, output):
            self._take(output, is_activated=True, band=self._shelf.get(type(module)))

    def _is_activation(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> bool:
        """Whether a module is of the activation shelf, or a user's own part without weights that keeps the shape."""
        if type(module) in self._shelf:
            return True
        if type(module) in self._norms or type(module).__module__.startswith(("torch.", "trainwell.")):
            return False
        is_empty = not (module._parameters or module._buffers or module._modules)
        are_tensors = len(args) == 1 and all(isinstance(value, Tensor) for value in (args[0], output))
        return is_empty and are_tensors and args[0].shape == output.shape

    def _take(self, result: Any, *, is_activated: bool = False, band: Band | None = None) -> None:
        tensor = result[0] if isinstance(result, (tuple, list)) and result else result
        if self._place and isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
            self.outputs[self._place] = Output(_rows(tensor, self._unit_dim), is_activated, band)


def _layers(model: nn.Module) -> dict[nn.Module, tuple[str, int]]:
    """Return each module that owns weights, with its place and the dimension along which its units lie."""
    modules = dict(model.named_modules())
    dims: dict[str, int] = {}
    for path, module in modules.items():
        most = max((p.ndim for p in module._parameters.values() if p is not None), default=0)
        if most >= 2:
            place = layer_of(f"{path}.weight")
            dims[place] = max(most, dims.get(place, 0))
    found = {}
    for place, most in dims.items():
        module = modules["" if place == ROOT else place]
        is_whole = not (module._modules.keys() - {"parametrizations"}) or isinstance(module, nn.MultiheadAttention)
        if is_whole and not isinstance(module, NORMS):
            found[module] = place, 1 if most > 2 else -1  # the kernels of maps have three dimensions and more
    return found


def _rows(tensor: Tensor, unit_dim: int) -> Tensor:
    """Copy the values of a tensor (N, ...) unit by unit, of maps at most as many positions as make `MOST_VALUES`."""
    values = tensor.detach()
    values = values.unsqueeze(-1) if values.ndim < 2 else values
    values = values.movedim(unit_dim, 0)  # (N, U, ...) or (N, ..., U) -> (U, N, ...)
    if values.ndim > 2:
        values = values.flatten(2)
        most = max(1, MOST_VALUES // (values.shape[0] * values.shape[1]))
        values = values[:, :, :: -(-values.shape[2] // most) | 1]  # an odd stride meets every column of a map
    return values.flatten(1).to(float32, copy=True)


def _band(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Band:
    """Return between which values an activation function is not saturated."""
    low, high = BOUNDED[name]
    if name == "hardtanh":
        given = [*args[:2], *(low, high)[len(args[:2]) :]]
        low, high = float(kwargs.get("min_val", given[0])), float(kwargs.get("max_val", given[1]))
    return _inner(low, high, rests=name in RESTING and low == 0)


def _inner(low: float, high: float, *, rests: bool = False) -> Band:
    near = (high - low) * END_SHARE
    return (-math.inf if rests else low + near), high - near


@functools.lru_cache(maxsize=1)
def _shelf(count: int) -> tuple[dict[type, Band | None], frozenset[type]]:
    """Return the classes that the shelves of activations, with their bands, and of norms build; of `count` cards."""
    classes: dict[type, Band | None] = {}
    for card in activations:
        built = _built(card)
        if built is not None:
            is_bounded = bool(card.traits.get("is_saturating"))
            ends = str(card.traits.get("range", "")).strip("([])").split(",")
            classes[built] = _inner(float(ends[0]), float(ends[1])) if is_bounded and len(ends) == 2 else None
    return classes, frozenset(built for card in norms if (built := _built(card)) is not None)


def _built(card: Card) -> type | None:
    """Return the class of module that a card builds, if its builder says so and torch does not have it."""
    builder = card.builder
    built = builder if inspect.isclass(builder) else typing.get_type_hints(builder).get("return")
    is_own = inspect.isclass(built) and issubclass(built, nn.Module) and not built.__module__.startswith("torch.")
    return built if is_own else None
