"""How each of torch's operations moves the receptive field: windows, views, reductions, products, meeting branches."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from trainwell.models.anatomy.fields import Reach, Span, joined, meeting, reshaped

Known = list[tuple[Reach, Tensor]]  # the inputs that depend on the network's input, each with its reach

VIEWS = {"view", "_unsafe_view", "_reshape_alias", "reshape", "unsqueeze_", "squeeze_", "unsqueeze", "squeeze"}
IN_PLACE = {  # what gives each entry where it was, and is not tagged as pointwise
    "alias", "clone", "copy", "detach", "lift_fresh", "_to_copy", "hardswish", "hardsigmoid", "hardtanh", "glu_jvp",
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
    "batch_norm_with_update", "_batch_norm_with_update", "native_layer_norm", "native_group_norm", "_fused_rms_norm",
    "native_dropout", "expand", "prelu", "_prelu_kernel", "rrelu_with_noise", "masked_fill", "softplus", "leaky_relu",
    "elu", "mish", "silu", "gelu", "log_sigmoid_forward", "convolution_overrideable", "miopen_batch_norm",
}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "var_mean", "std", "prod", "any", "all", "argmax",
              "argmin", "logsumexp", "norm", "linalg_vector_norm", "nansum", "std_mean", "median"}  # fmt: skip
EDGES = ("reflection", "replication")
MIXING = {"_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", "flip", "roll", "sort", "topk"}


def follow(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Known, outputs: list[Tensor]) -> Reach:
    """Return the reach of what an operation gives.

    Args:
        func: the operation, as torch's dispatcher names it.
        args, kwargs: what it was called with.
        inputs: those of its tensors that depend on the network's input.
        outputs: what it gave; several all have the reach of the first.
    """
    name = func._schema.name.partition("::")[2]
    plain = name if name in VIEWS else name.removesuffix("_")
    values = _named(func, args, kwargs)
    shape = tuple(outputs[0].shape)
    first, tensor = inputs[0]
    rule = RULES.get(plain)
    try:
        if plain.startswith("_scaled_dot_product"):
            return _attended(values, inputs, shape)
        if rule is not None:
            return rule(values, inputs, shape)
        if plain in VIEWS:
            return reshaped(first, tensor.shape, shape)
        if plain in REDUCTIONS:
            return _reduced(values, inputs, shape)
        if plain in MIXING:
            dims = values.get("dims", values.get("dim", -1))
            return first.mixed(dims if isinstance(dims, (list, tuple)) else [dims])
        if torch.Tag.pointwise in func.tags or plain in IN_PLACE:
            return meeting([(reach, tuple(each.shape)) for reach, each in inputs], shape)
    except (IndexError, KeyError, TypeError):  # an unusual call: as unknown as an unusual operation
        pass
    return Reach(((),) * len(shape), lost=name)


def _named(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments by name, defaults too."""
    values = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            values[argument.name] = args[place]
        elif argument.name in kwargs:
            values[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            values[argument.name] = argument.default_value
    return values


def _convolution(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    weight = values["weight"]
    reach, axes = inputs[0][0].collapsed([1]), weight.ndim - 2
    widths, strides, paddings, dilations = (
        _each(item, axes) for item in (weight.shape[2:], values["stride"], values["padding"], values["dilation"])
    )
    for axis in range(axes):
        width, stride = dilations[axis] * (widths[axis] - 1) + 1, strides[axis]
        if values.get("transposed"):  # an output unit sees the inputs whose windows cover it
            seen = math.ceil(width / stride)
            first = math.ceil(Fraction(paddings[axis] - width + 1, stride))
            new = _windowed(reach.dims[2 + axis], seen, Fraction(1, stride), Fraction(-first), shape[2 + axis])
        else:
            new = _windowed(reach.dims[2 + axis], width, Fraction(stride), Fraction(paddings[axis]), shape[2 + axis])
        reach = reach.with_dim(2 + axis, new)
    return reach


def _pool(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach, axes = inputs[0][0], len(shape) - 2
    widths = _each(values["kernel_size"], axes)
    strides = _each(values.get("stride") or widths, axes)
    paddings, dilations = _each(values.get("padding", 0), axes), _each(values.get("dilation", 1), axes)
    for axis in range(axes):
        place = axis - axes
        width = dilations[axis] * (widths[axis] - 1) + 1
        new = _windowed(reach.dims[place], width, Fraction(strides[axis]), Fraction(paddings[axis]), shape[place])
        reach = reach.with_dim(place, new)
    return reach


def _adaptive_pool(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach, tensor = inputs[0]
    for place in range(-len(_list(values["output_size"])), 0):
        old, new = tensor.shape[place], shape[place]
        width = max(math.ceil((i + 1) * old / new) - i * old // new for i in range(new)) if new else old
        reach = reach.with_dim(place, _windowed(reach.dims[place], width, Fraction(old, new), Fraction(0), new))
    return reach


def _upsample(width: int) -> Callable[[Mapping[str, Any], Known, tuple[int, ...]], Reach]:
    """Return the rule of an enlargement of which each pixel reads `width` neighbours along each axis."""

    def rule(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
        reach, tensor = inputs[0]
        for place in range(2, len(shape)):
            old, new = tensor.shape[place], shape[place]
            seen, before = min(width, old), Fraction((width - 1) // 2)
            reach = reach.with_dim(place, _windowed(reach.dims[place], seen, Fraction(old, new), before, new))
        return reach

    return rule


def _pad(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach, amounts = inputs[0][0], values.get("pad", values.get("padding"))
    for number, before in enumerate(amounts[::2]):  # of the last dimension first
        place = len(shape) - 1 - number
        reach = reach.with_dim(place, _windowed(reach.dims[place], 1, Fraction(1), Fraction(before), shape[place]))
    return reach


def _shuffled(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    """Channels that become pixels: neighbours on the finer grid share a field."""
    return _upsample(1)(values, inputs, shape)


def _slice(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach, tensor = inputs[0]
    place, begin = values["dim"], values.get("start") or 0
    begin = max(0, begin + tensor.shape[place]) if begin < 0 else begin
    new = _windowed(reach.dims[place], 1, Fraction(values.get("step") or 1), Fraction(-begin), shape[place])
    return reach.with_dim(place, new)


def _windowed(spans: tuple[Span, ...], width: int, stride: Fraction, padding: Fraction, count: int) -> tuple[Span, ...]:
    """Move windows along a dimension; where several axes run along it, windows are not told apart from all of it."""
    if len(spans) == 1:
        return (spans[0].windowed(width, stride, padding, count),)
    return spans if width == 1 == stride else tuple(span.whole() for span in spans)


def _permuted(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach = inputs[0][0]
    return replace(reach, dims=tuple(reach.dims[place] for place in values["dims"]))


def _transposed(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach = inputs[0][0]
    if len(reach.dims) < 2:
        return reach
    dims, a, b = list(reach.dims), values.get("dim0", 0), values.get("dim1", 1)
    dims[a], dims[b] = dims[b], dims[a]
    return replace(reach, dims=tuple(dims))


def _selected(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    """One entry of a dimension: what it sees is taken to be as far as the largest sees, from the first start on."""
    reach = inputs[0][0]
    place = values.get("dim", 0) % len(reach.dims)
    ones = [replace(span, count=1).whole() for span in reach.dims[place]]
    dims = reach.dims[:place] + reach.dims[place + 1 :]
    return Reach(dims, joined((*reach.rest, *ones)), reach.lost)


def _split(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach, place = inputs[0][0], values.get("dim", 0)
    spans = reach.dims[place]
    if len(spans) != 1:
        return reach if not spans else reach.collapsed([place])
    return reach.with_dim(place, (replace(spans[0], count=shape[place]),))


def _together(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    """Concatenation: branches meet; along an axis of the input itself, entries are not told apart any more."""
    dim = values.get("dim", 0)
    reaches = [(reach.collapsed([dim]), tuple(tensor.shape)) for reach, tensor in inputs]
    return meeting(reaches, shape)


def _stacked(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    place = values.get("dim", 0) % len(shape)
    same = meeting([(reach, tuple(tensor.shape)) for reach, tensor in inputs], shape[:place] + shape[place + 1 :])
    return replace(same, dims=(*same.dims[:place], (), *same.dims[place:]))


def _reduced(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    reach = inputs[0][0]
    dims = values.get("dim")
    places = range(len(reach.dims)) if dims is None or dims == [] else _list(dims)
    return reach.collapsed(places, keep=bool(values.get("keepdim")))


def _product(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    """Matrix products: rows of the first factor, columns of the second, what lies between is mixed."""
    factors = [values[name] for name in ("self", "mat1", "batch1", "mat2", "batch2", "vec") if name in values]
    left, right = [factor for factor in factors if factor.ndim >= 1][-2:]
    result = Reach(((),) * len(shape))
    for reach, tensor in inputs:
        is_left = tensor is left
        if not is_left and tensor is not right:
            result = meeting([(result, shape), (reach, tuple(tensor.shape))], shape)
            continue
        mixed = reach.collapsed([-1 if is_left or tensor.ndim == 1 else -2])
        spans = mixed.dims
        kept = (*spans[:-2], spans[-2], ()) if is_left and tensor.ndim > 1 else (*spans[:-2], (), spans[-1])
        one = Reach(kept[-len(shape) :] if len(shape) < len(kept) else kept, mixed.rest, mixed.lost)
        result = meeting([(result, shape), (one, shape)], shape)
    return result


def _attended(values: Mapping[str, Any], inputs: Known, shape: tuple[int, ...]) -> Reach:
    """Attention (N, heads, tokens, features): each token comes to depend on all."""
    reaches = [(reach.collapsed([-1]).mixed([-2]), tuple(tensor.shape)) for reach, tensor in inputs]
    return meeting(reaches, shape)


def _list(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _each(value: Any, count: int) -> list[int]:
    """Return one number for each axis."""
    values = _list(value)
    return values * count if len(values) == 1 else values


RULES: dict[str, Callable[[Mapping[str, Any], Known, tuple[int, ...]], Reach]] = {
    "permute": _permuted,
    "transpose": _transposed,
    "t": _transposed,
    "select": _selected,
    "unbind": _selected,
    "slice": _slice,
    "cat": _together,
    "stack": _stacked,
    **dict.fromkeys(["convolution", "_convolution", "cudnn_convolution", "_slow_conv2d_forward"], _convolution),
    **dict.fromkeys(["split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"], _split),
    **dict.fromkeys(["max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"], _pool),
    **dict.fromkeys(["max_pool2d", "max_pool3d", "max_pool1d", "avg_pool1d", "max_pool1d_with_indices"], _pool),
    **dict.fromkeys([f"_adaptive_avg_pool{n}d" for n in (2, 3)], _adaptive_pool),
    **dict.fromkeys([f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)], _adaptive_pool),
    **dict.fromkeys(["constant_pad_nd", *(f"{kind}_pad{n}d" for kind in EDGES for n in (1, 2, 3))], _pad),
    **dict.fromkeys([f"upsample_nearest{n}d" for n in (1, 2, 3)], _upsample(1)),
    **dict.fromkeys(["upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"], _upsample(2)),
    "upsample_bicubic2d": _upsample(4),
    "pixel_shuffle": _shuffled,
    **dict.fromkeys(["mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"], _product),
}
