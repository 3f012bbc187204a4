"""How smooth a loss is where training stands: what the loss and its gradient do along the gradient itself.

    loss variation               the range of L(w - r g) over step sizes r
    gradient predictiveness      the range of |g(w - r g) - g(w)|
    effective smoothness         the largest |g(w - r g) - g(w)| / (r |g|)

All on one mini-batch, with norms that look at the batch in training mode, as in the step that is judged. Weights,
buffers (running statistics) and random states are afterwards what they were, bit for bit.

Source: Santurkar et al. 2018, "How does batch normalization help optimization?", arXiv:1805.11604, sections 2.2, 3.1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainwell.errors import OptionInvalid

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class AlongGradient:
    """What was found at steps of several sizes against the gradient.

    Attributes:
        loss: L(w).
        gradient_norm: |g(w)|.
        rates: (R,) step sizes r, as shares of the gradient.
        losses: (R,) L(w - r g).
        changes: (R,) |g(w - r g) - g(w)|.
    """

    loss: float
    gradient_norm: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    changes: tuple[float, ...]

    @property
    def loss_variation(self) -> float:
        """The largest loss minus the smallest one."""
        return max(self.losses) - min(self.losses)

    @property
    def gradient_predictiveness(self) -> float:
        """The largest change of the gradient minus the smallest one."""
        return max(self.changes) - min(self.changes)

    @property
    def smoothness(self) -> float:
        """The largest change of the gradient for its distance; 0 where the gradient is 0, as nothing moves."""
        if self.gradient_norm == 0:
            return 0.0
        return max(change / (rate * self.gradient_norm) for rate, change in zip(self.rates, self.changes, strict=True))


@dataclass(frozen=True)
class Shift:
    """Internal covariate shift of one layer: what the steps of the layers before it do to its gradient.

    Attributes:
        distance: |g - g'|, g' its gradient when the layers before it have already stepped.
        share: the same divided by |g|.
        cosine: of the angle between the two; NaN where one of them is 0.
    """

    distance: float
    share: float
    cosine: float


def along_gradient(network: nn.Module, loss: Loss, rates: Sequence[float]) -> AlongGradient:
    """Look at steps of several sizes against the gradient of one mini-batch.

    Args:
        network: in training mode; only weights that require a gradient are moved.
        loss: evaluates the network on the mini-batch, () -> scalar; each call must take the same samples. Random
            layers draw the same in each call.
        rates: step sizes, positive, such as half to four times the learning rate.

    Raises:
        OptionInvalid: the network is in evaluation mode, or a rate is not positive.

    On half of 4 w^2 the gradient is 4 w, and its change over a step is 4 times the step:

    >>> bowl = nn.Linear(1, 1, bias=False).double()
    >>> found = along_gradient(bowl, lambda: 2 * bowl.weight.square().sum(), [0.1, 0.5])
    >>> round(found.smoothness, 12)
    4.0
    """
    _check(network, rates)
    weights = _weights(network)
    with _kept(network):
        state = torch.get_rng_state()
        value, gradients = _gradient(loss, weights, state)
        starts = [weight.detach().clone() for weight in weights]
        losses, changes = [], []
        for rate in rates:
            _place(weights, starts, gradients, rate)
            there, theirs = _gradient(loss, weights, state)
            losses.append(there)
            changes.append(_norm([one - other for one, other in zip(theirs, gradients, strict=True)]))
    return AlongGradient(value, _norm(gradients), tuple(rates), tuple(losses), tuple(changes))


def internal_covariate_shift(
    network: nn.Module, loss: Loss, layers: Sequence[Sequence[nn.Parameter]], rate: float
) -> list[Shift]:
    """Compare the gradient of each layer before and after one step of all layers in front of it.

    Args:
        network: in training mode.
        loss: as in `along_gradient`.
        layers: the weights of each layer, from the first to the last.
        rate: of the step of gradient descent.

    Returns:
        One for each layer; the first has no layer in front of it and does not shift.

    Raises:
        OptionInvalid: the network is in evaluation mode, or the rate is not positive.

    Source: Santurkar et al. 2018, definition 2.1.
    """
    _check(network, [rate])
    weights = [weight for layer in layers for weight in layer]
    shifts = []
    with _kept(network):
        state = torch.get_rng_state()
        _, gradients = _gradient(loss, weights, state)
        starts = [weight.detach().clone() for weight in weights]
        begin = 0
        for layer in layers:
            end = begin + len(layer)
            _place(weights[:begin], starts[:begin], gradients[:begin], rate)
            _, theirs = _gradient(loss, layer, state)
            shifts.append(_shift(gradients[begin:end], theirs))
            begin = end
    return shifts


def _shift(before: Sequence[Tensor], after: Sequence[Tensor]) -> Shift:
    distance = _norm([one - other for one, other in zip(before, after, strict=True)])
    here, there = _norm(before), _norm(after)
    inner = sum(float((one * other).sum(dtype=torch.float64)) for one, other in zip(before, after, strict=True))
    return Shift(
        distance,
        distance / here if here else math.nan,
        inner / (here * there) if here and there else math.nan,
    )


def _check(network: nn.Module, rates: Sequence[float]) -> None:
    if not network.training:
        raise OptionInvalid(
            "the network is in evaluation mode, where batch norm is a fixed scale and another loss is looked at than"
            " the one that is trained: call network.train() first"
        )
    if not rates or min(rates) <= 0:
        raise OptionInvalid(f"rates must be positive numbers, at least one, got {list(rates)}")


def _weights(network: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in network.parameters() if weight.requires_grad]


def _gradient(loss: Loss, weights: Sequence[nn.Parameter], state: Tensor) -> tuple[float, list[Tensor]]:
    """Return the loss and its gradient, 0 for weights that it does not depend on; `.grad` stays as it is."""
    torch.set_rng_state(state)
    with torch.enable_grad():
        value = loss()
    found = torch.autograd.grad(value, list(weights), allow_unused=True)
    gradients = [
        torch.zeros_like(weight) if one is None else one.detach() for weight, one in zip(weights, found, strict=True)
    ]
    return value.item(), gradients


def _place(weights: Sequence[nn.Parameter], starts: Sequence[Tensor], gradients: Sequence[Tensor], rate: float) -> None:
    """Put weights where a step of gradient descent from their start would."""
    with torch.no_grad():
        for weight, start, gradient in zip(weights, starts, gradients, strict=True):
            weight.copy_(start - rate * gradient)


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum(dtype=torch.float64)) for tensor in tensors))


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """Give back weights, buffers and the random state as they were."""
    state = torch.get_rng_state()
    with torch.no_grad():
        before = [(tensor, tensor.clone()) for tensor in (*network.parameters(), *network.buffers())]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, content in before:
                tensor.copy_(content)
        torch.set_rng_state(state)
