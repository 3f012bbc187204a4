"""What an operation costs, in multiply-adds, by torch's own formulas; and which operations cost none by convention."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

CONVENTIONS: dict[str, str] = {
    "macs": "multiply-adds of convolutions and matrix products; biases, norms, activations and pooling cost nothing",
    "folded": (
        "every convolution has a bias and its batch norm folded in; one operation a weight and bias at each place, one"
        " an input element of a pooling, the classes of the softmax, and the skip's channels where it is subsampled"
    ),
    "keras": "parameters with the two running statistics of each norm's channel; operations as multiply-adds",
}

# By convention these cost nothing: norms, pooling, reductions, copies, interpolation, and all that only moves entries.
FREE = {
    "cat", "stack", "mean", "sum", "nansum", "amax", "amin", "max", "min", "argmax", "argmin", "var", "var_mean", "std",
    "std_mean", "prod", "norm", "linalg_vector_norm", "logsumexp", "any", "all", "cumsum", "cumprod", "sort", "topk",
    "median", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update", "cudnn_batch_norm", "native_layer_norm", "native_group_norm", "_fused_rms_norm",
    "_softmax", "_log_softmax", "_safe_softmax", "constant_pad_nd", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "index", "index_select", "index_put", "_index_put_impl", "gather",
    "scatter", "scatter_add", "embedding", "roll", "flip", "repeat", "clone", "copy", "_to_copy", "lift_fresh",
    "_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "fill", "zero", "masked_fill", "masked_select", "where",
    "native_dropout", "bernoulli", "normal", "uniform", "random", "arange", "linspace", "eye", "tril", "triu",
    "tril_indices", "triu_indices", "scalar_tensor", "hardswish", "hardsigmoid", "hardtanh", "prelu", "_prelu_kernel",
    "rrelu_with_noise", "log_sigmoid_forward", "glu", "im2col", "col2im", "grid_sampler_2d", "grid_sampler_3d",
    "affine_grid_generator", "nonzero", "equal", "_local_scalar_dense", "transpose", "squeeze", "unsqueeze", "set",
    "resize", "as_strided", "unfold", "view_as_real", "view_as_complex", "_reshape_alias", "bucketize", "searchsorted",
    "isin", "one_hot", "repeat_interleave", "convert_element_type", "_weight_norm_interface", "_assert_async", "isnan",
}  # fmt: skip
FREE_BEGINNINGS = ("empty", "zeros", "ones", "full", "rand", "new_", "max_pool", "avg_pool", "adaptive_", "_adaptive_",
                   "upsample_", "_upsample_", "reflection_pad", "replication_pad", "fractional_max_pool")  # fmt: skip
POOLING = ("max_pool", "avg_pool", "adaptive_", "_adaptive_", "fractional_max_pool")
SPATIAL_MEANS = {"mean", "amax", "max", "sum"}
SOFTMAX = {"_softmax", "_log_softmax", "_safe_softmax"}


@dataclass(frozen=True)
class Cost:
    """What one operation costs on a batch.

    Attributes:
        multiply_adds: 0 where it is free by convention; None where it is not known.
        is_product: whether it is a convolution or a matrix product.
    """

    multiply_adds: int | None
    is_product: bool = False


def plain_name(func: Any) -> str:
    """Return an operation's name without its namespace and the mark of being in place."""
    name: str = func._schema.name.partition("::")[2]
    return name.removesuffix("_") or name


def cost_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Cost:
    """Return what an operation costs."""
    name = plain_name(func)
    if func._overloadpacket in flop_registry:  # torch counts a multiply-add as two
        return Cost(int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=output)) // 2, is_product=True)
    tensors = [each for each in args if isinstance(each, Tensor)]
    if name.startswith("_scaled_dot_product"):
        (*batch, queries, features), keys, out = tensors[0].shape, tensors[1].shape[-2], tensors[2].shape[-1]
        return Cost(math.prod(batch) * queries * keys * (features + out), is_product=True)
    if name == "mkldnn_rnn_layer":  # (T, N, D) inputs, weights of the inputs and of the state
        steps, samples = tensors[0].shape[:2]
        return Cost(steps * samples * (tensors[1].numel() + tensors[2].numel()), is_product=True)
    if name in ("mv", "addmv"):
        return Cost(tensors[-2].numel(), is_product=True)
    if name in ("dot", "vdot"):
        return Cost(tensors[0].numel(), is_product=True)
    if name == "addbmm":
        return Cost(tensors[1].numel() * tensors[2].shape[-1], is_product=True)
    if func.is_view or torch.Tag.pointwise in func.tags or name in FREE or name.startswith(FREE_BEGINNINGS):
        return Cost(0)
    return Cost(None)


def units_of(name: str, weight: Tensor, output: Tensor) -> int:
    """Return how many outputs a layer with this weight has, each of which could have a bias."""
    return int(output.shape[1]) if "conv" in name else max(1, int(output.shape[-1] if weight.ndim > 1 else 1))
