"""What keeps training in bounds beside weight decay: clipped gradients, and stopping in time.

Source: Pascanu et al. 2013, arXiv:1211.5063 (clipping); Prechelt 1998, "Early stopping, but when?".
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from trainwell.errors import OptionInvalid


@torch.no_grad()
def clip_gradient_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients down together, in place, so that their joint 2-norm is at most max_norm.

        g *= min(1, max_norm / |g|),      |g| = sqrt(sum of squares over all parameters)

    Gradients within the bound keep every bit. Difference from torch's `clip_grad_norm_`: no 1e-6 is
    added to the norm. A NaN in any gradient makes all of them NaN.

    Args:
        params: parameters of one device; those without gradient are left alone.
        max_norm: the bound, above 0.

    Returns:
        The norm before clipping, 0-d, on the device of the gradients: nothing waits for it.

    Raises:
        OptionInvalid: max_norm is not a number above 0.

    >>> weight = torch.zeros(2, requires_grad=True)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradient_norm([weight], 1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    if not max_norm > 0 or math.isinf(max_norm):
        raise OptionInvalid(f"max_norm must be a number > 0, got {max_norm!r}: usual are 0.5 to 5")
    gradients = [parameter.grad for parameter in params if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_mul_(gradients, (max_norm / norm).clamp_(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
    return norm


class EarlyStopping:
    """Says when a value that is watched once an epoch has stopped getting better.

    It is exhausted as soon as `patience` values in a row were no improvement: with patience 1, the
    first epoch that is not better ends training. Keras' EarlyStopping counts alike; torch's
    ReduceLROnPlateau acts one epoch later. A value is better if it beats the best so far by more than
    `min_delta`; the first is always better; NaN never is.

    Attributes:
        best: the best value so far, or None before the first.
        waited: values in a row that were no improvement.

    Raises:
        OptionInvalid: patience below 1, min_delta below 0, or an unknown mode.

    >>> watch = EarlyStopping(patience=2)
    >>> [(watch.update(loss), watch.is_exhausted) for loss in (0.9, 0.5, 0.6, 0.5)]
    [(True, False), (True, False), (False, False), (False, True)]
    """

    def __init__(self, *, patience: int, min_delta: float = 0.0, mode: Literal["min", "max"] = "min") -> None:
        if patience < 1:
            raise OptionInvalid(f"patience must be a whole number >= 1, got {patience!r}: leave it out to never stop")
        if not 0 <= min_delta < math.inf:
            raise OptionInvalid(f"min_delta must be a number >= 0, got {min_delta!r}: it is an absolute difference")
        if mode not in ("min", "max"):
            raise OptionInvalid(f"mode must be one of 'min', 'max', got {mode!r}: 'min' for a loss, 'max' for accuracy")
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.best: float | None = None
        self.waited = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether `patience` values in a row were no improvement."""
        return self.waited >= self.patience

    def update(self, value: float) -> bool:
        """Take the value of one more epoch; return whether it is the best so far."""
        if math.isnan(value):
            is_better = False
        elif self.best is None:
            is_better = True
        else:
            gain = self.best - value if self.mode == "min" else value - self.best
            is_better = gain > self.min_delta
        if is_better:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return is_better

    def state(self) -> dict[str, Any]:
        """Return what must be stored, as JSON data."""
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        best = state["best"]
        self.best = None if best is None else float(best)
        self.waited = int(state["waited"])
