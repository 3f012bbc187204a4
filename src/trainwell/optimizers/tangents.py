"""Pushes a nudge of the parameters forward through a graph that autograd recorded, without computing the net again.

Autograd's graph is made for going backwards, u -> J^T u. What it kept for that is enough to go forwards, v -> J v, node
by node: a convolution of the nudged inputs plus one with the nudged kernels; a batch norm by its own backward kernel,
since d output / d input is symmetric but for the scale of each channel; an elementwise function by its own backward,
since its Jacobian is diagonal; any other node by differentiating its backward, which is linear in u, a second time.

Differentiating the whole backward pass twice gives the same numbers, at several times the price: torch takes the second
derivative of a batch norm apart into a dozen passes over memory. Forward mode needs the forward pass once more.

Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian" (the R-operator).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from trainwell.errors import ModelInvalid

Nudges = Sequence[Tensor | None]
Rule = Callable[[Nudges], Sequence[Tensor | None]]

# Nodes with one input, whose Jacobian is diagonal, so that going forwards is what going backwards is.
ELEMENTWISE = frozenset(
    f"{name}Backward0"
    for name in (
        "Relu Threshold LeakyRelu Elu Gelu Silu Mish Tanh Sigmoid Softplus Hardtanh Hardswish Hardsigmoid Exp Log Sqrt"
        " Rsqrt Neg Abs Clamp NativeDropout"
    ).split()
) | {"PowBackward0", "MulBackward0", "DivBackward0"}


def nodes_below(last: Any, *, until: Any = None) -> list[Any]:
    """Return the nodes of a graph, each behind all that it depends on; at `until` the walk turns back."""
    found: list[Any] = []
    done: set[Any] = {until}
    waiting = [(last, False)]
    while waiting:
        node, is_open = waiting.pop()
        if is_open:
            found.append(node)
        elif node is not None and node not in done:
            done.add(node)
            waiting.append((node, True))
            waiting += [(child, False) for child, _ in node.next_functions]
    return found


def call_node(node: Any, *upstream: Tensor | None) -> list[Tensor | None]:
    """Return what a node passes down for gradients from above; it has one more derivative where grad mode is on."""
    given = node(*upstream) if callable(node) else node.apply(*upstream)  # a node written in Python is not callable
    given = given if isinstance(given, tuple) else (given,)
    return [_fitted(part, *edge) for part, edge in zip(given, node.next_functions, strict=False)]


def _fitted(part: Tensor | None, child: Any, slot: int) -> Tensor | None:
    """Sum over what was broadcast on the way forwards, which autograd does between its nodes."""
    if part is None or child is None:
        return part
    kind = child._input_metadata[slot]
    return part.sum_to_size(kind.shape).to(kind.dtype)


@dataclass(frozen=True)
class _Stop:
    """One node on the way: how it passes nudges on, where it finds them, and what is not needed behind it."""

    rule: Rule
    sources: tuple[tuple[Any, int] | None, ...]
    node: Any
    spent: tuple[Any, ...]


class Tangents:
    """v -> J v, with J the Jacobian of `outputs` in `parameters` at the weights of the forward pass that is recorded.

    Whatever that pass fixed stays fixed: masks of dropout, maxima of pools; means and variances of batch norms depend
    on the parameters, as they do in the pass. Weights must not be changed while it is used.

    Raises:
        ModelInvalid: outputs depend on none of the parameters, or a node of the graph has no second derivative.

    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> Tangents(weight.square(), [weight])([torch.tensor([0.5])])
    tensor([3.])
    """

    def __init__(self, outputs: Tensor, parameters: Sequence[Tensor]) -> None:
        self._positions = {id(parameter): place for place, parameter in enumerate(parameters)}
        self._outputs = outputs
        self._leaves: list[tuple[Any, int]] = []
        self._stops: list[_Stop] = []
        reached: set[Any] = set()
        way: list[Any] = []
        for node in nodes_below(outputs.grad_fn):
            place = self._positions.get(id(getattr(node, "variable", None)))
            if place is not None:
                self._leaves.append((node, place))
                reached.add(node)
            elif any(child in reached for child, _ in node.next_functions):
                reached.add(node)
                way.append(node)
        if outputs.grad_fn not in reached:
            raise ModelInvalid("the outputs depend on none of the parameters: return them with their graph, undetached")
        last_use = {child: node for node in way for child, _ in node.next_functions if child in reached}
        spent: dict[Any, list[Any]] = {}
        for child, node in last_use.items():
            spent.setdefault(node, []).append(child)
        for node in way:
            sources = tuple((child, slot) if child in reached else None for child, slot in node.next_functions)
            self._stops.append(_Stop(_rule(node, sources), sources, node, tuple(spent.get(node, ()))))

    @torch.no_grad()
    def __call__(self, nudges: Sequence[Tensor]) -> Tensor:
        """Return J v, of the outputs' shape.

        Args:
            nudges: v, one tensor a parameter, of its shape.
        """
        known: dict[Any, Sequence[Tensor | None]] = {node: (nudges[place],) for node, place in self._leaves}
        for stop in self._stops:
            given = [source and known[source[0]][source[1]] for source in stop.sources]
            known[stop.node] = stop.rule(given)
            for node in stop.spent:
                del known[node]
        outputs = self._outputs
        found = known[outputs.grad_fn][outputs.output_nr]
        return torch.zeros_like(outputs) if found is None else found


def _rule(node: Any, sources: tuple[Any, ...]) -> Rule:
    name = node.name()
    if name in RULES:
        return RULES[name](node)
    if name in ELEMENTWISE and sum(source is not None for source in sources) == 1 and sources[0] is not None:
        child, slot = sources[0]
        if child._input_metadata[slot].shape == node._input_metadata[0].shape:
            return lambda given: call_node(node, given[0])
    return _twice(node)


def _twice(node: Any) -> Rule:
    """Differentiate the backward of one node, once: its derivative in u is what pushes nudges forward."""
    kinds = node._input_metadata
    with torch.enable_grad():
        upstream = [torch.zeros(kind.shape, dtype=kind.dtype, device=kind.device, requires_grad=True) for kind in kinds]
        try:
            below = call_node(node, *upstream)
        except RuntimeError as error:
            _refuse(node, error)

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        pairs = [
            (passed, nudge)
            for passed, nudge in zip(below, given, strict=False)
            if passed is not None and nudge is not None and passed.requires_grad
        ]
        if not pairs:
            return [None] * len(upstream)
        outputs, seeds = zip(*pairs, strict=True)
        try:
            found = torch.autograd.grad(outputs, upstream, seeds, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            _refuse(node, error)
        if all(nudge is None for nudge in found):  # what is linear in u must depend on u, unless it was cut off
            _refuse(node, RuntimeError("its backward is cut off from the graph"))
        return found

    return rule


def _refuse(node: Any, error: RuntimeError) -> NoReturn:
    raise ModelInvalid(
        f"the graph holds {node.name()}, which cannot be differentiated twice ({str(error).splitlines()[0]}):"
        " second-order optimizers need the network uncompiled, and functions of your own without once_differentiable"
    ) from error


def _convolution(node: Any) -> Rule:
    inputs, weight = node._saved_input, node._saved_weight
    how = (
        node._saved_stride,
        node._saved_padding,
        node._saved_dilation,
        node._saved_transposed,
        node._saved_output_padding,
        node._saved_groups,
    )

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        of_inputs, of_weight, of_bias = given
        if of_weight is None and of_inputs is None:
            shape = (1, -1, *[1] * (len(node._input_metadata[0].shape) - 2))
            return [None if of_bias is None else of_bias.view(shape).expand(node._input_metadata[0].shape)]
        if of_weight is None:
            return [torch.convolution(of_inputs, weight, of_bias, *how)]  # type: ignore[arg-type]
        there = torch.convolution(inputs, of_weight, of_bias, *how)
        return [there if of_inputs is None else there.add_(torch.convolution(of_inputs, weight, None, *how))]

    return rule


def _batch_norm(node: Any) -> Rule:
    """d y = gamma P d x + x' d gamma + d beta, with x' the normalized inputs; P is symmetric, so backward serves."""
    inputs, weight, eps, is_training = node._saved_input, node._saved_weight, node._saved_eps, node._saved_training
    running_mean, running_var = node._saved_running_mean, node._saved_running_var
    mean, scale = node._saved_result1, node._saved_result2
    if not is_training:
        mean, scale = running_mean, (running_var + eps).rsqrt()
    shape = (1, -1, *[1] * (inputs.ndim - 2))
    backward = torch.ops.aten.native_batch_norm_backward

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        of_inputs, of_weight, of_bias = given
        moved = None
        if of_inputs is not None:
            saved = (node._saved_result1, node._saved_result2) if is_training else (None, None)
            wants = [True, False, False]
            moved = backward(of_inputs, inputs, weight, running_mean, running_var, *saved, is_training, eps, wants)[0]
        if of_weight is not None:
            steep = of_weight * scale
            shift = -mean * steep if of_bias is None else of_bias - mean * steep
            if moved is None:
                moved = torch.addcmul(shift.view(shape), inputs, steep.view(shape))
            else:
                moved.add_(shift.view(shape)).addcmul_(inputs, steep.view(shape))
        elif of_bias is not None:
            moved = of_bias.view(shape).expand(inputs.shape) if moved is None else moved.add_(of_bias.view(shape))
        return [moved, None, None]

    return rule


def _addmm(node: Any) -> Rule:
    left, right = node._saved_mat1, node._saved_mat2
    beta, alpha = node._saved_beta, node._saved_alpha
    shape = node._input_metadata[0].shape

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        of_bias, of_left, of_right = given
        terms = [] if of_left is None else [of_left @ right]
        terms += [] if of_right is None else [left @ of_right]
        moved = sum(terms[1:], terms[0]) * alpha if terms else None
        if of_bias is None:
            return [moved]
        of_bias = of_bias * beta
        return [of_bias.expand(shape) if moved is None else moved.add_(of_bias)]

    return rule


def _matmul(node: Any) -> Rule:
    left, right = node._saved_self, node._saved_mat2

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        of_left, of_right = given
        if of_left is None:
            return [None if of_right is None else left @ of_right]
        return [of_left @ right if of_right is None else (of_left @ right).add_(left @ of_right)]

    return rule


def _add(node: Any) -> Rule:
    alpha = getattr(node, "_saved_alpha", 1)
    shape = node._input_metadata[0].shape

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        first, second = given if len(given) == 2 else (given[0], None)
        if first is None or second is None:
            moved = first if second is None else second * alpha
            return [moved if moved is None else moved.expand(shape)]
        return [torch.add(first, second, alpha=alpha)]

    return rule


def _max_pool(node: Any) -> Rule:
    where = node._saved_result1

    def rule(given: Nudges) -> Sequence[Tensor | None]:
        (of_inputs,) = given
        assert of_inputs is not None
        return [of_inputs.flatten(-2).gather(-1, where.flatten(-2)).view_as(where), None]  # (N, C, H, W) -> (N, C, HW)

    return rule


def _mean(node: Any) -> Rule:
    shape, ndim = node._input_metadata[0].shape, len(node._saved_self_sym_sizes)
    axes = [axis - (1 << 64) if axis >= ndim else axis for axis in node._saved_dim or range(ndim)]  # read as unsigned
    return lambda given: [None if given[0] is None else given[0].mean(axes).reshape(shape)]


RULES: dict[str, Callable[[Any], Rule]] = {
    "ConvolutionBackward0": _convolution,
    "NativeBatchNormBackward0": _batch_norm,
    "AddmmBackward0": _addmm,
    "MmBackward0": _matmul,
    "AddBackward0": _add,
    "MeanBackward1": _mean,
    "MaxPool2DWithIndicesBackward0": _max_pool,
}
