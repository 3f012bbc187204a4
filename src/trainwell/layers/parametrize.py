"""Weight normalization: the weights of each unit as a length g times a direction v / |v|.

    w = g v / |v|        one g for each output unit or channel

At the start, a first batch sets length and bias of each unit, layer by layer, so that with t = v x / |v|

    g = 1 / std(t)        b = -mean(t) / std(t)        y = g t + b has mean 0 and variance 1 on that batch

The directions stay those that the network was drawn with; the paper draws them from N(0, 0.05^2), which has the same
directions as any other Gaussian.

Source: Salimans & Kingma 2016, arXiv:1602.07868, sections 2 and 3.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from trainwell.errors import DataInvalid, ModelInvalid

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# A unit that varies less than this share of what its inputs' size and its weights would give is constant but for
# rounding, and dividing by its deviation would blow that up.
LEAST_DEVIATION = 1e-6


def weight_norm_(layer: nn.Module) -> None:
    """Reparametrize a dense or convolutional layer in place; what it computes stays the same.

    Its parameter `weight` becomes `parametrizations.weight.original0`, g, and `.original1`, v. Weight decay acts on
    both: on g it is decay of the weights, on v it changes no output, only how fast v turns.

    Raises:
        ModelInvalid: it is no such layer, has a parametrization already, or a unit has only zeros and no direction.

    >>> layer = nn.Linear(3, 2)
    >>> weight_norm_(layer)
    >>> sorted(name for name, _ in layer.named_parameters())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    if not isinstance(layer, LAYERS):
        raise ModelInvalid(f"weight norm works on dense and convolutional layers, got {type(layer).__name__}")
    if parametrize.is_parametrized(layer, "weight"):
        raise ModelInvalid(f"the weights of this {type(layer).__name__} are computed from others already")
    if bool((layer.weight.detach().flatten(1) == 0).all(1).any()):
        raise ModelInvalid(
            "weight norm needs a direction, and a unit of this layer has only zeros for weights: draw them first"
        )
    parametrizations.weight_norm(layer, dim=0)


def is_weight_normalized(module: nn.Module) -> bool:
    """Whether a module's weights are a length times a direction, and nothing else.

    >>> layer = nn.Linear(3, 2)
    >>> weight_norm_(layer)
    >>> is_weight_normalized(layer), is_weight_normalized(nn.Linear(3, 2))
    (True, False)
    """
    lists: Any = getattr(module, "parametrizations", {})
    if set(lists) != {"weight"} or not isinstance(module, LAYERS):
        return False
    steps = list(lists["weight"])
    return len(steps) == 1 and type(steps[0]) is parametrizations._WeightNorm


def remove_weight_norm_(model: nn.Module) -> int:
    """Multiply the weights of every weight-normalized layer out, in place, and return how many layers there were.

    The parameters are named `weight` again; what the network computes stays the same.

    >>> net = nn.Sequential(nn.Linear(3, 2))
    >>> weight_norm_(net[0])
    >>> remove_weight_norm_(net), type(net[0]).__name__
    (1, 'Linear')
    """
    found: list[Any] = [module for module in model.modules() if is_weight_normalized(module)]
    for layer in found:
        is_trained = any(parameter.requires_grad for parameter in layer.parametrizations.weight.parameters())
        weight = nn.Parameter(layer.weight.detach(), requires_grad=is_trained)
        # By hand, because torch's way takes the weights from the class, which copies of the layer share.
        layer.__class__ = type(layer).__bases__[0]
        del layer.parametrizations
        layer.register_parameter("weight", weight)
    return len(found)


@torch.no_grad()
def start_weight_norm_(model: nn.Module, batch: Tensor) -> int:
    """Set length and bias of every weight-normalized layer from a first batch, in place; return how many there were.

    One pass in evaluation mode: each layer is set as the pass reaches it, and hands on what it gives then. The mean is
    over samples and pixels, the variance the biased one. A layer without a bias gets variance 1, and keeps its mean.

    Args:
        model: its layers run once each.
        batch: inputs as in training; as many as there are, at least two that differ.

    Raises:
        ModelInvalid: no layer has weight norm, or one is used twice in a pass or not at all.
        DataInvalid: a layer gives NaN or Inf, or a unit gives the same for all samples.

    >>> net = nn.Sequential(nn.Linear(4, 3))
    >>> weight_norm_(net[0])
    >>> start_weight_norm_(net, torch.randn(50, 4))
    1
    >>> bool((net(torch.zeros(1, 4)).isfinite()).all())
    True
    """
    places = {module: name or "the network" for name, module in model.named_modules() if is_weight_normalized(module)}
    if not places:
        raise ModelInvalid("no layer of this network has weight norm: apply weight_norm_ to its layers first")
    waiting = dict(places)

    def start(layer: nn.Module, inputs: tuple[Any, ...], outputs: Tensor) -> Tensor:
        if layer not in waiting:
            raise ModelInvalid(
                f"{places[layer]} is used twice in one pass, so no length fits both uses: give each use its own layer"
            )
        return _start(layer, waiting.pop(layer), outputs)

    handles = [layer.register_forward_hook(start) for layer in places]
    try:
        with _evaluation(model):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if waiting:
        raise ModelInvalid(f"{', '.join(waiting.values())} had no part in the pass over the first batch")
    return len(places)


def _start(layer: Any, place: str, outputs: Tensor) -> Tensor:
    """Set a layer so that what it just gave has mean 0 and variance 1, and return that."""
    if not outputs.numel():
        raise DataInvalid(f"{place} gives nothing for inputs that are none: the first batch is empty")
    axes = [axis for axis in range(outputs.ndim) if axis != _channel_axis(layer, outputs)]
    shape = [1 if axis in axes else -1 for axis in range(outputs.ndim)]
    variance, mean = torch.var_mean(outputs.double(), axes, correction=0)
    deviation = variance.sqrt()
    if not bool(mean.isfinite().all() and deviation.isfinite().all()):
        raise DataInvalid(f"{place} gives NaN or Inf on the first batch: look for them in the inputs and the weights")
    size = outputs.double().square().mean(axes).sqrt()
    constant = int((deviation <= LEAST_DEVIATION * size).sum())
    if constant:
        raise DataInvalid(
            f"{constant} of {len(mean)} units of {place} give the same for all {len(outputs)} samples of the first"
            " batch, so that no length gives them variance 1: take a larger batch of samples that differ"
        )
    layer.parametrizations.weight.original0.div_(deviation.view_as(layer.parametrizations.weight.original0))
    if layer.bias is None:
        return (outputs / deviation.view(shape)).to(outputs.dtype)
    layer.bias.copy_((layer.bias.double() - mean) / deviation)
    return ((outputs - mean.view(shape)) / deviation.view(shape)).to(outputs.dtype)


def _channel_axis(layer: nn.Module, outputs: Tensor) -> int:
    """Where the units of a layer stand in what it gives: last for a dense one, behind the samples for a convolution."""
    return outputs.ndim - 1 if isinstance(layer, nn.Linear) else 1


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training
