"""Products of the Gauss-Newton matrix with vectors, from the graph of one forward pass.

    G = J^T H_L J        J: Jacobian of the outputs in the parameters;  H_L: Hessian of the loss in the outputs

It is the Hessian without the curvature of the network itself, so it is positive semi-definite wherever the loss is
convex in the outputs, as cross-entropy and squared error are, and a quadratic model made of it has a minimum.

Source: Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent"; Martens 2010,
"Deep learning via Hessian-free optimization".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainwell.errors import OptionInvalid
from trainwell.optimizers.tangents import Tangents, call_node, nodes_below

ROUNDING = 1e-4  # of the size of the product, below which a negative curvature is rounding of float32
PROBE_SEED = 0


class GaussNewton:
    """The linear map v -> (G + diag(damping)) v of vectors (P,) over all parameters in a row.

    Nothing of the forward pass is computed again: a product goes once forwards and once backwards through the graph
    that is there, and costs about 1.5 times the gradient. Masks of dropout are those of that pass; the mean and
    variance of a batch norm in training mode are part of the graph, so their dependence on the weights counts, and in
    evaluation mode they are constants. Terms of the loss that depend on the parameters directly, such as a penalty on
    their size, count with their full Hessian.

    Memory: the graph is kept, and a product holds about as much again.

    Args:
        parameters: tensors of one type and device.
        loss: a scalar made from `outputs`, with its graph.
        outputs: what the network returned, with its graph.
        damping: added to the diagonal; a number or a vector (P,).

    Attributes:
        products: how many were asked for so far.

    Raises:
        OptionInvalid: the loss does not depend on the outputs, has no curvature in them, or is not convex in them.
        ModelInvalid: the outputs depend on no parameter, or a function in the network has no second derivative.

    >>> weight, inputs = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[3.0], [1.0]])
    >>> outputs = weight @ inputs
    >>> GaussNewton([weight], outputs.square().sum() / 2, outputs)(torch.tensor([1.0, 0.0]))  # inputs inputs^T v
    tensor([9., 3.])
    """

    def __init__(
        self, parameters: Sequence[Tensor], loss: Tensor, outputs: Tensor, *, damping: float | Tensor = 0.0
    ) -> None:
        self.damping = damping
        self.products = 0
        self._parameters = list(parameters)
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self._outputs = outputs
        (self._slope,) = _first_derivative(loss, outputs)
        _check_curvature(self._slope, outputs)
        self._forwards = Tangents(outputs, self._parameters)
        self._direct = _direct_gradients(loss, outputs, self._parameters)

    def __call__(self, vector: Tensor) -> Tensor:
        """Return (G + diag(damping)) v, (P,)."""
        self.products += 1
        parts = self.split(vector)
        bent = _bent(self._slope, self._outputs, self._forwards(parts))
        back = torch.autograd.grad(self._outputs, self._parameters, bent, retain_graph=True, allow_unused=True)
        flat = self.flatten(back)
        for place, gradient in self._direct.items():
            (more,) = _second_derivative(gradient, self._parameters[place], parts[place])
            if more is not None:
                start = sum(self._sizes[:place])
                flat[start : start + self._sizes[place]] += more.reshape(-1)
        return flat.add_(self.damping * vector)

    def split(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector (P,) in the shapes of the parameters."""
        parts = vector.split(self._sizes)
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]

    def flatten(self, parts: Sequence[Tensor | None]) -> Tensor:
        """Return tensors of the parameters' shapes as one vector (P,); None stands for zeros."""
        pairs = zip(parts, self._parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if part is None else part.detach()).reshape(-1) for part, p in pairs])


def _first_derivative(loss: Tensor, outputs: Tensor) -> tuple[Tensor, ...]:
    fault = "must be made from the outputs that are returned beside it, with its graph: do not detach or copy them"
    try:
        (slope,) = torch.autograd.grad(loss, outputs, create_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise OptionInvalid(f"gauss_newton:loss {fault} ({str(error).splitlines()[0]})") from error
    if slope is None:
        raise OptionInvalid(f"gauss_newton:loss {fault}")
    return (slope,)


def _second_derivative(gradient: Tensor, at: Tensor, along: Tensor) -> tuple[Tensor | None, ...]:
    if not gradient.requires_grad:
        return (None,)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(gradient, at, along, retain_graph=True, allow_unused=True)
    return found


def _bent(slope: Tensor, outputs: Tensor, along: Tensor) -> Tensor:
    """Return H_L times a nudge of the outputs."""
    (bent,) = _second_derivative(slope, outputs, along)
    return torch.zeros_like(outputs) if bent is None else bent


def _check_curvature(slope: Tensor, outputs: Tensor) -> None:
    """Ask the loss for its curvature along random nudges: of all samples at once, then of the one that looks worst."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    nudge = torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs)
    bent = _bent(slope, outputs, nudge)
    if not bent.any() and slope.any():
        raise OptionInvalid(
            "gauss_newton:loss has no curvature in the outputs here, so there is nothing to solve for: a loss of"
            " straight pieces (hinge, absolute error) has none anywhere, and cross-entropy none once its scores are so"
            " large that float32 ends; take cross_entropy, binary_cross_entropy, squared_error or squared_hinge"
        )
    curvatures = (nudge * bent).reshape(len(outputs) if outputs.ndim else 1, -1).sum(1)
    worst = int(curvatures.argmin())
    if curvatures[worst] >= -ROUNDING * curvatures.abs().max():
        return
    alone = torch.zeros_like(nudge)
    alone[worst] = nudge[worst]
    if (alone * _bent(slope, outputs, alone)).sum() < 0:
        raise OptionInvalid(
            f"gauss_newton:loss is not convex in the outputs: nudging those of sample {worst} bends it downwards, and"
            " the quadratic model would have no minimum; take a convex loss, such as cross_entropy or squared_error"
        )


def _direct_gradients(loss: Tensor, outputs: Tensor, parameters: Sequence[Tensor]) -> dict[int, Tensor]:
    """Return the gradients of what the loss says of parameters past the outputs, by position, with their graph."""
    positions = {id(parameter): place for place, parameter in enumerate(parameters)}
    above = nodes_below(loss.grad_fn, until=outputs.grad_fn)
    reached: set[Any] = set()
    for node in above:
        is_ours = id(getattr(node, "variable", None)) in positions
        if is_ours or any(child in reached for child, _ in node.next_functions):
            reached.add(node)
    if loss.grad_fn not in reached:
        return {}
    gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {loss.output_nr: torch.ones_like(loss)}}
    found: dict[int, Tensor] = {}
    with torch.enable_grad():
        for node in (node for node in reversed(above) if node in reached):
            upstream = gradients.pop(node, {})
            if hasattr(node, "variable"):
                if upstream:
                    found[positions[id(node.variable)]] = upstream[0]
                continue
            kinds = node._input_metadata
            given = [upstream.get(slot, _zeros(kind)) for slot, kind in enumerate(kinds)]
            for (child, slot), gradient in zip(node.next_functions, call_node(node, *given), strict=False):
                if child in reached and gradient is not None:
                    there = gradients.setdefault(child, {})
                    there[slot] = there[slot] + gradient if slot in there else gradient
    return found


def _zeros(kind: Any) -> Tensor:
    return torch.zeros(kind.shape, dtype=kind.dtype, device=kind.device)
