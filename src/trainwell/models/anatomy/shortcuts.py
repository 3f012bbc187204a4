"""Shapes of a few common operations, without torch's own way to them, which is slow and loads a compiler first.

Whatever does not fit is left to torch, whose errors are then the user's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ATEN = torch.ops.aten


def shape_of_result(func: Any, args: Sequence[Any], kwargs: Any) -> Any:
    """Return what an operation gives for tensors without numbers; None where it must run."""
    rule = RULES.get(func)
    if rule is None or kwargs:
        return None
    values = [one for arg in args for one in (arg if isinstance(arg, (list, tuple)) else [arg])]
    tensors = [one for one in values if isinstance(one, Tensor)]
    is_simple = all(one.is_meta and one.dtype == tensors[0].dtype for one in tensors)
    return rule(*args) if is_simple else None


def _batch_norm(inputs: Tensor, *rest: Any) -> Any:
    """In evaluation mode: the input's shape, and no statistics."""
    is_training = rest[4]
    outputs = inputs.new_empty_strided(inputs.shape, inputs.stride())
    return None if is_training else (outputs, inputs.new_empty(0), inputs.new_empty(0))


def _mean(inputs: Tensor, dims: Sequence[int] | None, keeps: bool = False) -> Tensor | None:
    if not dims:
        return None
    axes = {axis % inputs.ndim for axis in dims}
    kept = [axis for axis in range(inputs.ndim) if keeps or axis not in axes]
    return inputs.new_empty([1 if axis in axes else inputs.shape[axis] for axis in kept])


def _dense(bias: Tensor, inputs: Tensor, weight: Tensor) -> Tensor | None:
    fits = inputs.ndim == weight.ndim == 2 and inputs.shape[1] == weight.shape[0] and bias.shape == weight.shape[1:]
    return inputs.new_empty((inputs.shape[0], weight.shape[1])) if fits else None


def _together(inputs: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = inputs[0]
    others = {(*one.shape[:dim], one.ndim, *one.shape[dim + 1 :]) for one in inputs}
    if not 0 <= dim < first.ndim or len(others) > 1:
        return None
    return first.new_empty((*first.shape[:dim], sum(one.shape[dim] for one in inputs), *first.shape[dim + 1 :]))


def _convolution(inputs: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor | None:
    strides, paddings, dilations, is_transposed, _, groups = how
    axes = weight.ndim - 2
    if is_transposed or inputs.ndim != weight.ndim or {len(strides), len(paddings), len(dilations)} != {axes}:
        return None
    has_channels = inputs.shape[1] == weight.shape[1] * groups and weight.shape[0] % groups == 0
    has_bias = bias is None or bias.shape == weight.shape[:1]
    if not has_channels or not has_bias or min((*strides, *dilations)) < 1:
        return None
    windows = zip(inputs.shape[2:], weight.shape[2:], strides, paddings, dilations, strict=True)
    sizes = [_count(*each) for each in windows]
    return inputs.new_empty((inputs.shape[0], weight.shape[0], *sizes)) if min(sizes) > 0 else None


def _max_pool(inputs: Tensor, widths: Sequence[int], *how: Any) -> tuple[Tensor, Tensor] | None:
    given = [*how, *[(), (0, 0), (1, 1), False][len(how) :]]
    strides, paddings, dilations, ceil = given[0] or widths, *given[1:]
    if inputs.ndim != 4 or {len(widths), len(strides), len(paddings), len(dilations)} != {2}:
        return None
    if any(2 * padding > width for padding, width in zip(paddings, widths, strict=True)):
        return None
    windows = zip(inputs.shape[2:], widths, strides, paddings, dilations, strict=True)
    sizes = [_count(*each, ceil=ceil) for each in windows]
    shape = (*inputs.shape[:2], *sizes)
    return (inputs.new_empty(shape), inputs.new_empty(shape, dtype=torch.int64)) if min(sizes) > 0 else None


def _count(size: int, width: int, stride: int, padding: int, dilation: int, *, ceil: bool = False) -> int:
    """Return how many windows fit; with `ceil` one more where it begins within the input."""
    rest = size + 2 * padding - dilation * (width - 1) - 1
    if not ceil:
        return rest // stride + 1
    count = -(-rest // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def _added(into: Tensor, other: Any, *how: Any) -> Tensor | None:
    return into if isinstance(other, Tensor) and other.shape == into.shape else None


RULES: dict[Any, Callable[..., Any]] = {
    ATEN.native_batch_norm.default: _batch_norm,
    ATEN.mean.dim: _mean,
    ATEN.add_.Tensor: _added,
    ATEN.addmm.default: _dense,
    ATEN.cat.default: _together,
    ATEN.convolution.default: _convolution,
    ATEN.max_pool2d_with_indices.default: _max_pool,
}
