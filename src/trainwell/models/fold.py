"""Put the arithmetic of a batch norm into the layer before it, for a network that will only be asked.

In evaluation mode a batch norm is a fixed scale and shift of each channel, and so is part of a linear map in
front of it:

    s = gamma / sqrt(var + eps)        W' = s W        b' = s (b - mean) + beta

Which layer stands in front of which norm is not read from names but watched: one pass over an example, in
which every use of every tensor is counted. A pair is folded only where the norm is all that the layer's output
and weights are used for; so a norm behind an activation or a pooling stays. Weight norm, whose weights are computed
from length and direction at every use, is multiplied out first.

Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2 (batch normalization folding).
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainwell.layers.normalization import BatchNorm1d, BatchNorm2d
from trainwell.layers.parametrize import remove_weight_norm_

LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNorm1d, BatchNorm2d)

# Of the largest score, compared in float64: what is left is the rounding of the new weights to their own type, 6e-8 a
# layer in float32. A norm over channels that never varied scales rounding up without bound, and fails here.
TOLERANCE = 1e-5


@torch.no_grad()
def fold(model: nn.Module, example: Tensor) -> tuple[nn.Module, int]:
    """Return a copy of a network in evaluation mode with its batch norms folded, and how many were.

    The copy keeps every module but the folded norms, which become `nn.Identity`, and its layers with weight norm are
    plain ones; the given network stays as it is. Where outputs would differ by more than rounding, or the network uses
    a norm in another way than by calling it, nothing is folded. A network whose path depends on its
    input must take on the example the path that it takes on all inputs.

    Args:
        model: gives (N, K) scores; on any device.
        example: a batch that it takes, on the same device.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    >>> fold(net, torch.zeros(1, 3, 8, 8))[1]
    1
    """
    plain = copy.deepcopy(model).eval()
    folded = copy.deepcopy(plain)
    removed = remove_weight_norm_(folded)
    pairs = _pairs(folded, example)
    for layer, norm in pairs:
        _fold_into(layer, norm)
    _replace(folded, [norm for _, norm in pairs])
    if not (pairs or removed) or not _agree(plain, folded, example):
        return plain, 0
    return folded, len(pairs)


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Return each layer with the norm that can be folded into it, in the order of the pass."""
    seen = _Pass(model)
    with seen.watching(), seen:
        model(example)
    return [(layer, norm) for norm, layer in seen.fed_by.items() if seen.allows(layer, norm)]


class _Pass(TorchFunctionMode):
    """One pass through a network: which output feeds which norm, and how often each tensor is used."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.fed_by: dict[nn.Module, nn.Module] = {}
        self._calls: Counter[nn.Module] = Counter()
        self._uses: Counter[int] = Counter()
        self._made: dict[int, tuple[nn.Module, Tensor]] = {}  # holds the outputs, so that no id is given twice
        self._weights = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
        self._places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
        self._touched = {module for module in model.modules() if _has_hooks(module)}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch and count the tensors that it was given, unless it only asked for their shape."""
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, bool | int | torch.Size | torch.dtype | torch.device | torch.layout):
            self._uses.update(id(tensor) for tensor in _tensors((args, kwargs)))
        return result

    def watching(self) -> "_Hooks":
        """Return the context in which layers and norms tell of their calls."""
        handles = []
        for module in self.model.modules():
            if type(module) in LINEAR:
                handles.append(module.register_forward_hook(self._layer_ran))
            elif type(module) in NORMS:
                handles.append(module.register_forward_pre_hook(self._norm_runs))
        return _Hooks(handles)

    def _layer_ran(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self._calls[layer] += 1
        self._made[id(output)] = layer, output
        self._uses[id(output)] = 0  # what was counted under this id so far was a tensor that is gone

    def _norm_runs(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._calls[norm] += 1
        if inputs and id(inputs[0]) in self._made:
            self.fed_by[norm] = self._made[id(inputs[0])][0]

    def allows(self, layer: nn.Module, norm: nn.Module) -> bool:
        """Whether nothing but the norm sees the layer's output, and nothing but the two their weights."""
        output = next(made for maker, made in self._made.values() if maker is layer)
        own = [*layer.parameters(), *norm.parameters()]
        once = [self._uses[id(tensor)] == 1 for tensor in (output, *own)]
        unshared = [self._weights[id(weight)] == 1 for weight in own]
        alone = [self._calls[m] == 1 and self._places[m] == 1 and m not in self._touched for m in (layer, norm)]
        is_by_channel = not isinstance(layer, nn.Linear) or output.ndim == 2
        return all((*once, *unshared, *alone, is_by_channel, getattr(norm, "running_mean", None) is not None))


class _Hooks:
    """Hooks that are taken off again at the end."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = handles

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _has_hooks(module: nn.Module) -> bool:
    """Whether somebody else watches or changes a module's calls, or computes its weights anew."""
    places = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, place, None) for place in places) or hasattr(module, "parametrizations")


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _fold_into(layer: Any, norm: Any) -> None:
    """Change the weights of a layer so that it gives what the norm behind it gave."""
    wide = torch.float64
    scale = (norm.running_var.to(wide) + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale, shift = scale * norm.weight.to(wide), norm.bias.to(wide)
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.to(wide)
    weight = layer.weight.to(wide) * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    shifted = (bias - norm.running_mean.to(wide)) * scale + shift
    layer.weight.copy_(weight)
    layer.bias = nn.Parameter(shifted.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)


def _replace(model: nn.Module, norms: Sequence[nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if any(child is norm for norm in norms):
                setattr(parent, name, nn.Identity())


def _agree(plain: nn.Module, folded: nn.Module, example: Tensor) -> bool:
    """Compare both networks in float64, where all that differs is the rounding of the folded weights."""
    try:
        want, got = (copy.deepcopy(net).double()(example.double()) for net in (plain, folded))
    except Exception:  # any network may look at its own norms, or not run in float64: then it stays unfolded
        return False
    return bool((got - want).abs().max() <= TOLERANCE * want.abs().max().clamp_min(1e-3))
