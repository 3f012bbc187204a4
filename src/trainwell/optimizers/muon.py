"""Muon: momentum whose matrices are made nearly orthogonal before each step, so that all directions move alike.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982 (the scale that matches AdamW).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from trainwell.core.checked import checked
from trainwell.core.machine import has_fast_bfloat16
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Count, Positive, ProperFraction, Rate
from trainwell.optimizers.fused import can_fuse
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.stepwise import Moments, Stepwise

QUINTIC = (3.4445, -4.7750, 2.0315)
LEAST_NORM = 1e-7
WIDE = 2  # times as many columns as rows, from which the Gram form has less to multiply

Scale = Literal["original", "match_rms_adamw"]


@optimizers.card("muon", source="Jordan et al. 2024, https://kellerjordan.github.io/posts/muon")
@checked
class Muon(Stepwise):
    """Momentum, made nearly orthogonal by five Newton-Schulz steps: every direction of a matrix moves equally far.

        m = momentum * m + (1 - momentum) * g          u = (1 - momentum) * g + momentum * m, with nesterov, else m
        X = u / |u|;  five times: A = X X^T,  X = 3.4445 X - 4.7750 A X + 2.0315 A A X
        theta *= 1 - lr * weight_decay
        theta -= lr * scale * X                        scale: sqrt(max(1, rows / columns)), or see `scale`

    Singular values of X end between about 0.7 and 1.2, not at 1: the coefficients are made for few steps. Kernels of
    convolutions count as matrices (out, in * height * width).

    Only matrices inside the network are moved so. Vectors (biases, norms) and the last layer are moved by AdamW, at
    lr * adamw_factor: the last layer is the last matrix of the model, which `places` of `parameter_groups` tell in
    whatever order the groups come; without them it is the last matrix of those given.

    Difference to torch.optim.Muon, which takes (N, M) tensors alone: those above; matrices of one shape go through
    Newton-Schulz together; bfloat16 only where the device multiplies it in hardware, else float32, where matrices at
    least twice as wide as high go through it as their Gram matrices, which gives the same polynomial of X.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate of matrices: the spectral norm of a step, about.
        momentum: share of the mean gradient that survives a step.
        nesterov: look ahead by one step of momentum.
        weight_decay: share of the weight that is taken off at lr = 1, decoupled.
        newton_schulz_steps: more bring singular values no nearer to 1.
        scale: `original`, or `match_rms_adamw` for 0.2 sqrt(max(rows, columns)), whose steps are as large as those of
            AdamW, so that a rate and decay tuned for AdamW serve, with adamw_factor=1.
        last_layer: what moves it.
        adamw_factor: rate of AdamW over lr.
        beta1, beta2, eps: of AdamW.
        maximize: climb.

    Costs one copy of the matrices, two of the rest, and on CIFAR nets a few per cent of a step. Wants a schedule. Cures
    slow learning of rare directions; usually fewer epochs than with SGD or AdamW.

    >>> weight = torch.zeros(2, 2, requires_grad=True)
    >>> weight.grad = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    >>> Muon([weight], lr=1.0, last_layer="muon").step(); bool((weight.diag() < -0.5).all())
    True
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 0.02,
        momentum: ProperFraction = 0.95,
        nesterov: bool = True,
        weight_decay: Amount = 0.01,
        newton_schulz_steps: Count = 5,
        scale: Scale = "original",
        last_layer: Literal["adamw", "muon"] = "adamw",
        adamw_factor: Positive = 0.1,
        beta1: ProperFraction = 0.9,
        beta2: ProperFraction = 0.99,
        eps: Positive = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "weight_decay": weight_decay,
                "newton_schulz_steps": newton_schulz_steps,
                "scale": scale,
                "last_layer": last_layer,
                "adamw_factor": adamw_factor,
                "beta1": beta1,
                "beta2": beta2,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Return a momentum for a matrix inside, and what AdamW keeps for any other tensor."""
        is_inside = parameter.ndim >= 2 and (group["last_layer"] == "muon" or parameter is not self._last_matrix())
        if is_inside:
            return {"momentum_buffer": torch.zeros_like(parameter)}
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}

    def _last_matrix(self) -> Tensor | None:
        matrices = [parameter for parameter in self._in_order() if parameter.ndim >= 2]
        dense = [matrix for matrix in matrices if matrix.ndim == 2]
        return dense[-1] if dense else matrices[-1] if matrices else None

    def _in_order(self) -> list[Tensor]:
        """Return the parameters in the order of their model, or of the groups where those do not tell of one model."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        places = [place for group in self.param_groups for place in group.get("places", ())]
        fits = all(len(group.get("places", ())) == len(group["params"]) for group in self.param_groups)
        if not fits or len(set(places)) < len(places):  # two parameters at one place: groups of several models
            return parameters
        return [parameters[i] for i in sorted(range(len(places)), key=places.__getitem__)]

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move the parameters of a group and their state, in place."""
        inside = [place for place, state in enumerate(states) if "momentum_buffer" in state]
        rest = [place for place, state in enumerate(states) if "momentum_buffer" not in state]
        if inside:
            moments = [states[place]["momentum_buffer"] for place in inside]
            _move_matrices(group, [parameters[p] for p in inside], [gradients[p] for p in inside], moments)
        if rest:
            _move_rest(group, [parameters[p] for p in rest], [gradients[p] for p in rest], [states[p] for p in rest])


def orthogonalized(matrices: Tensor, *, steps: int = 5) -> Tensor:
    """Return matrices with their singular values brought near 1 by Newton-Schulz iterations.

        X = M / |M|;  X = a X + b A X + c A A X  with A = X X^T

    Each iteration multiplies X by a polynomial of A, and A by that polynomial squared. Where X is wide, the iterations
    are done on A alone, and X is multiplied once, by the product of the polynomials.

    Args:
        matrices: (n, rows, columns), of a floating type in which it is computed.
        steps: iterations.

    Returns:
        (n, rows, columns).

    >>> matrix = torch.tensor([[[3.0, 0.0, 4.0], [0.0, 0.5, 0.0]]])  # singular values 5 and 0.5
    >>> found = torch.linalg.svdvals(orthogonalized(matrix)); bool((found > 0.6).all() and (found < 1.3).all())
    True
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalized(matrices.mT, steps=steps).mT
    a, b, c = QUINTIC
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp(min=LEAST_NORM)
    x: Tensor = matrices / norms
    if matrices.shape[2] < WIDE * matrices.shape[1] or matrices.dtype == torch.bfloat16:  # A A needs float32's digits
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x
    gram, product = x @ x.mT, None
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    return x if product is None else product @ x


def _move_matrices(
    group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], moments: list[Tensor]
) -> None:
    lr, momentum = float(group["lr"]), group["momentum"]
    torch._foreach_lerp_(moments, gradients, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]
    updates = torch._foreach_lerp(gradients, moments, momentum) if group["nesterov"] else moments  # pyright: ignore
    if group["weight_decay"] and lr:
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
    shapes: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
    for parameter, update in zip(parameters, updates, strict=True):
        matrix = update.permute(_order(parameter)).flatten(1) if parameter.ndim > 2 else update
        shapes.setdefault((*matrix.shape, matrix.dtype, matrix.device), []).append((matrix, parameter))
    for (rows, columns, dtype, device), pairs in shapes.items():
        stacked = torch.stack([matrix for matrix, _ in pairs])
        if dtype == torch.float32 and has_fast_bfloat16(device):
            stacked = stacked.bfloat16()
        steps = orthogonalized(stacked, steps=group["newton_schulz_steps"]).to(dtype).unbind()
        targets = [target for _, target in pairs]
        shaped = [_as_kernel(step, target) for step, target in zip(steps, targets, strict=True)]
        alpha = -lr * _scale(rows, columns, group["scale"])
        torch._foreach_add_(targets, shaped, alpha=alpha)  # pyright: ignore[reportPrivateImportUsage]


def _order(kernel: Tensor) -> list[int]:
    """Return the dimensions of a kernel, the first one and then the others as they lie in memory.

    In this order it and what has its strides are mostly seen as a matrix (out, in * k * k) without a copy. The order of
    columns changes nothing but the order of columns of the result.
    """
    strides = kernel.stride()
    return [0, *sorted(range(1, kernel.ndim), key=lambda place: -strides[place])]


def _as_kernel(matrix: Tensor, like: Tensor) -> Tensor:
    """View a matrix, with columns in `_order` of a parameter, in the shape of the parameter, never as a copy."""
    if like.ndim <= 2:
        return matrix
    order = _order(like)
    seen: Tensor = matrix.unflatten(1, [like.shape[place] for place in order[1:]])
    return seen.permute([order.index(place) for place in range(like.ndim)])


def _scale(rows: int, columns: int, rule: Scale) -> float:
    return math.sqrt(max(1.0, rows / columns)) if rule == "original" else 0.2 * math.sqrt(max(rows, columns))


def _move_rest(
    group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: Sequence[Moments]
) -> None:
    moved = list(zip(parameters, gradients, states, strict=True))
    alike = [_lie_alike(*one) for one in moved]
    for is_alike in set(alike):
        part = [one for one, found in zip(moved, alike, strict=True) if found == is_alike]
        adamw(
            [parameter for parameter, _, _ in part],
            [gradient for _, gradient, _ in part],
            [state["exp_avg"] for _, _, state in part],
            [state["exp_avg_sq"] for _, _, state in part],
            [],
            [state["step"] for _, _, state in part],
            fused=is_alike and can_fuse(parameters),
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=float(group["lr"]) * group["adamw_factor"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _lie_alike(parameter: Tensor, gradient: Tensor, state: Moments) -> bool:
    """Whether torch's fused kernel may serve a parameter: it walks memory, whatever the strides say."""
    strides = parameter.stride()
    return all(tensor.stride() == strides for tensor in (gradient, state["exp_avg"], state["exp_avg_sq"]))
