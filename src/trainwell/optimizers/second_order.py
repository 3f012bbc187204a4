"""What optimizers that look at curvature share: a closure that is asked again, and the parameters in one system.

Such an optimizer needs the loss at several weights in one step, so it takes `step(closure)`, and since it looks through
the graph of the forward pass, the closure returns loss and outputs with their graph and calls no backward:

    def closure():
        outputs = model(inputs)
        return criterion(outputs, targets).mean(), outputs
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainwell.errors import NonFinite, OptionInvalid
from trainwell.optimizers.parameters import Parameters, check_group, listed, refuse_moved, refuse_sparse

Closure = Callable[[], Any]
WRITE = "write step(closure), where closure() returns (loss, outputs) with their graph and calls no backward"


class SecondOrder(torch.optim.Optimizer):
    """An optimizer whose step solves one system of equations for the parameters of all groups.

    A group's rate multiplies its part of the step; a group whose rate is 0 has no part in the system. Gradients in
    `.grad` are neither read nor written. A subclass writes `step`.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        parts = listed(params, type(self))
        self.check(list(_tensors(parts)))  # of all groups, before torch adds them one by one
        super().__init__(parts, defaults)

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Refuse parameters, of all groups together, that no one system of equations can hold.

        Raises:
            OptionInvalid: they are of several types or devices, or of low precision.
        """
        kinds = {(str(tensor.device), tensor.dtype) for tensor in tensors}
        if len(kinds) > 1:
            words = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))
            raise OptionInvalid(
                f"{type(self).__name__}:params must be of one type on one device, since one system of equations holds"
                f" them all, got {words}: move the network first, with model.to(...)"
            )
        if tensors[0].dtype not in (torch.float32, torch.float64):
            raise OptionInvalid(
                f"{type(self).__name__}:params must be float32 or float64, since its equations lose their meaning in"
                f" lower precision, got {tensors[0].dtype}: train the network in float32, with model.float()"
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the constructor refuses."""
        (group,) = listed([param_group], type(self))
        held = {id(parameter): "a parameter of another group" for g in self.param_groups for parameter in g["params"]}
        check_group(group, len(self.param_groups), type(self), held)
        _refuse_maximize(group, type(self))
        self.check([*_tensors(self.param_groups), *_tensors([group])])
        super().add_param_group(group)

    def in_system(self) -> list[tuple[dict[str, Any], Tensor]]:
        """Return the parameters that a step moves, each with its group.

        Raises:
            OptionInvalid: the network was cast or moved after the first step, and the state stayed as it was.
        """
        found = [
            (group, parameter)
            for group in self.param_groups
            if float(group["lr"]) != 0
            for parameter in group["params"]
            if parameter.requires_grad
        ]
        for group, parameter in found:
            refuse_moved(type(self).__name__, _name(group, parameter), parameter, self.state.get(parameter, {}))
        return found


def _tensors(parts: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the parameters of what `listed` returns."""
    for part in parts:
        for tensor in part["params"] if isinstance(part, dict) else [part]:
            yield tensor[1] if isinstance(tensor, tuple) else tensor


def _refuse_maximize(group: dict[str, Any], owner: type) -> None:
    if group.get("maximize"):
        raise OptionInvalid(
            f"{owner.__name__}:maximize must be false, got {group['maximize']!r}: it minimizes a quadratic model, and"
            " one that bends downwards has no minimum; negate the loss instead"
        )


class Question:
    """A closure that is asked at several weights within a step, with the random draws of the first time.

    Masks of dropout and noise are then the same each time, and values at different weights can be compared.

    Raises:
        OptionInvalid: the closure is missing.
    """

    def __init__(self, closure: Closure | None, owner: str, device: torch.device) -> None:
        if closure is None:
            raise OptionInvalid(f"{owner} needs the loss at several weights in a step, got no closure: {WRITE}")
        self._closure, self._owner, self._device = closure, owner, device
        self._state = random_state(device)
        self.asked = 0

    def graph(self) -> tuple[Tensor, Tensor]:
        """Return loss and outputs with their graph.

        Raises:
            OptionInvalid: the closure returns anything else.
        """
        with torch.enable_grad():
            answer = self._ask()
        is_pair = isinstance(answer, (tuple, list)) and len(answer) == 2
        if not is_pair or not all(isinstance(part, Tensor) for part in answer):
            got = type(answer).__name__ if not isinstance(answer, Tensor) else "a tensor alone"
            raise OptionInvalid(f"{self._owner}:closure must return (loss, outputs), got {got}: {WRITE}")
        loss, outputs = answer
        if loss.numel() != 1 or not loss.requires_grad or outputs.grad_fn is None:
            raise OptionInvalid(
                f"{self._owner}:closure must return (loss, outputs), the loss one number and both with their graph, got"
                f" a loss of shape {tuple(loss.shape)}{'' if loss.requires_grad else ' without graph'} and outputs of"
                f" shape {tuple(outputs.shape)}{'' if outputs.grad_fn is not None else ' without graph'}: {WRITE}"
            )
        return loss.reshape(()), outputs

    def loss(self) -> Tensor:
        """Return the loss with its graph; a closure may return it alone.

        Raises:
            OptionInvalid: the closure returns anything else.
        """
        with torch.enable_grad():
            answer = self._ask()
        loss = answer[0] if isinstance(answer, (tuple, list)) and answer else answer
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise OptionInvalid(
                f"{self._owner}:closure must return a loss of one number with its graph, or (loss, outputs), got"
                f" {type(answer).__name__}: {WRITE}"
            )
        return loss.reshape(())

    @torch.no_grad()
    def value(self) -> float:
        """Return the loss at the present weights, without graph."""
        answer = self._ask()
        return float(answer[0] if isinstance(answer, (tuple, list)) else answer)

    def _ask(self) -> Any:
        if self.asked:
            put_random_state(self._state, self._device)
        self.asked += 1
        return self._closure()


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the state of torch's generators that a network on a device draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def put_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def refuse_nonfinite(pairs: Iterable[tuple[dict[str, Any], Tensor]], gradients: Sequence[Tensor], owner: str) -> None:
    """Refuse gradients that hold NaN or Inf, or are sparse; waits for the device once.

    Raises:
        NonFinite: the parameters are named; nothing was changed.
        OptionInvalid: a gradient is sparse.
    """
    pairs = list(pairs)
    for (group, parameter), gradient in zip(pairs, gradients, strict=True):
        refuse_sparse(owner, _name(group, parameter), gradient)
    if bool(torch.isfinite(torch.stack([gradient.abs().max() for gradient in gradients])).all()):
        return
    bad = [
        _name(group, parameter)
        for (group, parameter), gradient in zip(pairs, gradients, strict=True)
        if not bool(torch.isfinite(gradient).all())
    ]
    named = ", ".join(bad[:8]) + (f" and {len(bad) - 8} more" if len(bad) > 8 else "")
    raise NonFinite(
        f"{owner}: the gradient of {named} holds NaN or Inf, and no weight was changed: look at the loss and the inputs"
        " of this batch",
        {"parameters": bad},
    )


def _name(group: dict[str, Any], parameter: Tensor) -> str:
    place = next(place for place, other in enumerate(group["params"]) if other is parameter)
    names = group.get("param_names", [])
    return str(names[place]) if place < len(names) else f"parameter {place} of shape {tuple(parameter.shape)}"


@contextmanager
def trial(parameters: Sequence[Tensor]) -> Iterator[Callable[[Sequence[Tensor], float], None]]:
    """Yield `move(parts, factor)`, which puts parameters at start + factor * part; afterwards they stay where put.

    Where an error leaves the block, they are put back.
    """
    starts = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def move(parts: Sequence[Tensor], factor: float) -> None:
        for parameter, start, part in zip(parameters, starts, parts, strict=True):
            parameter.copy_(torch.add(start, part, alpha=factor) if factor else start)

    try:
        yield move
    except BaseException:
        move(starts, 0.0)
        raise
