"""RAdam: Adam that holds its adaptive rate back while the variance of that rate is large.

Source: Liu et al. 2019, "On the variance of the adaptive learning rate and beyond", arXiv:1908.03265.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from trainwell.core.checked import checked
from trainwell.core.shelves import optimizers
from trainwell.core.units import Amount, Positive, ProperFraction, Rate, Unit
from trainwell.optimizers.parameters import Parameters
from trainwell.optimizers.stepwise import Moments, Stepwise

SampleLength = Annotated[float, Ge(4), Unit("gradients")]


@optimizers.card("radam", source="Liu et al. 2019, arXiv:1908.03265, algorithm 2")
@checked
class RAdam(Stepwise):
    """Adam with a rectified rate: momentum alone at first, the adaptive rate as its variance falls; no warm-up.

        theta *= 1 - lr * weight_decay
        m = beta1 * m + (1 - beta1) * g            m' = m / (1 - beta1^t)
        v = beta2 * v + (1 - beta2) * g^2
        rho_t = rho - 2 t beta2^t / (1 - beta2^t)  rho = 2 / (1 - beta2) - 1
        rho_t > threshold:   theta -= lr * r_t * m' * sqrt(1 - beta2^t) / (sqrt(v) + eps)
        otherwise:           theta -= lr * m'
        r_t^2 = (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)

    rho_t is how many gradients the mean square is worth; 4 is where its variance becomes finite, and the paper's
    threshold. The popular one is 5 (torch: above 5; optax and the official code: 5 and above), which turns step 5 of
    beta2 = .999 into one of momentum. The first steps have the size of the gradient and not of lr: where gradients
    are large, they are too, which Adam's are not. The official code makes no step at all below its threshold unless
    `degenerated_to_sgd` is set, not even that of weight decay. eps stands beside the uncorrected root, as in the
    official code and torch (optax: the corrected one; the paper: none). Decay is decoupled, as in the official code
    and `adamw`; torch's is coupled unless its flag is set. At threshold 5 this is torch's RAdam with that flag.

    Args:
        params: tensors, (name, tensor) pairs, or groups such as `parameter_groups` returns.
        lr: learning rate.
        beta1: share of the mean gradient that survives a step.
        beta2: share of the mean squared gradient that survives a step; at most 0.6, and the rate never adapts.
        eps: keeps the quotient finite.
        threshold: the rate adapts where rho_t is above it: 4 the paper's, 5 the popular one.
        weight_decay: share of the weight that is taken off at lr = 1.
        maximize: climb instead of descend.

    Costs two copies of the weights. Cures the need of a warm-up that Adam has.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> weight.grad = torch.tensor([0.1, -2.0])
    >>> RAdam([weight], lr=0.25).step(); weight.detach()
    tensor([0.9750, 1.5000])
    """

    def __init__(
        self,
        params: Parameters,
        *,
        lr: Rate = 3e-3,
        beta1: ProperFraction = 0.9,
        beta2: ProperFraction = 0.999,
        eps: Positive = 1e-8,
        threshold: SampleLength = 4.0,
        weight_decay: Amount = 0.0,
        maximize: bool = False,
    ) -> None:
        shares = {"beta1": beta1, "beta2": beta2, "threshold": threshold}
        super().__init__(params, {"lr": lr, **shares, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Begin both means at 0."""
        zeros = torch.zeros_like(parameter, requires_grad=False)
        return {"step": 0, "mean": zeros, "square": zeros.clone()}

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move those that have come equally far together."""
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - group["beta1"])
        torch._foreach_mul_(squares, group["beta2"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["beta2"])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        for state in states:
            state["step"] += 1
        for step, places in _by_step(states):
            self._move(group, step, *([tensors[at] for at in places] for tensors in (parameters, means, squares)))

    def _move(
        self, group: dict[str, Any], step: int, parameters: list[Tensor], means: list[Tensor], squares: list[Tensor]
    ) -> None:
        beta1, beta2 = group["beta1"], group["beta2"]
        rate = group["lr"] / (1 - beta1**step)
        length = sample_length(step, beta2)
        if length > group["threshold"]:
            rate *= rectification(length, beta2) * math.sqrt(1 - beta2**step)
            roots = torch._foreach_sqrt(squares)
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_addcdiv_(parameters, means, roots, value=-rate)
        else:
            torch._foreach_add_(parameters, means, alpha=-rate)


def sample_length(step: int, beta2: float) -> float:
    """Return rho_t: how many gradients the mean square of a step, counted from 1, is worth.

    >>> round(sample_length(5, 0.999), 6)
    4.995998
    """
    left = beta2**step
    return 2 / (1 - beta2) - 1 - 2 * step * left / (1 - left)


def rectification(length: float, beta2: float) -> float:
    """Return r_t for a rho_t above 4: the share of the adaptive rate whose variance is that of a long run.

    >>> round(rectification(sample_length(5, 0.999), 0.999), 7)
    0.0173115
    """
    longest = 2 / (1 - beta2) - 1
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


def _by_step(states: list[Moments]) -> Iterator[tuple[int, list[int]]]:
    """Yield each step that states have come to, with their places in the list: one, unless a layer thawed."""
    places: dict[int, list[int]] = {}
    for place, state in enumerate(states):
        places.setdefault(state["step"], []).append(place)
    yield from places.items()
