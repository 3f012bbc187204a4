"""The last good state of a run, kept in memory: what a step changes, copied, and put back exactly."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.train.hooks import stateful
from trainwell.train.progress import Progress


@dataclass
class Snapshot:
    """Copies of weights, buffers, optimizer state and hook state as they were before one step."""

    step: int
    model: list[Tensor]
    optimizer: dict[Tensor, dict[str, Any]]
    groups: list[dict[str, Any]]
    hooks: list[dict[str, Tensor]]


@dataclass
class Good:
    """The last state that is known to be finite, with the counters and the record as they were then."""

    snapshot: Snapshot
    progress: Progress
    total_steps: int
    record_length: int


class Alarm(Exception):
    """A loss or a weight is not finite; `step` is the first step known to be affected."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def take(step: int, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Iterable[object]) -> Snapshot:
    """Copy everything that a step changes; costs one pass over the weights and the optimizer's state."""
    return Snapshot(
        step=step,
        model=[tensor.detach().clone() for tensor in named_tensors(model).values()],
        optimizer={parameter: _copied(state) for parameter, state in optimizer.state.items()},
        groups=[{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        hooks=[_copied(hook.state()) for hook in stateful(hooks)],
    )


@torch.no_grad()
def put_back(snapshot: Snapshot, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Iterable[object]) -> None:
    """Make model, optimizer and hooks exactly what they were when the snapshot was taken."""
    for tensor, copy in zip(named_tensors(model).values(), snapshot.model, strict=True):
        tensor.copy_(copy)
    optimizer.state.clear()
    for parameter, state in snapshot.optimizer.items():
        optimizer.state[parameter] = _copied(state)
    for group, saved in zip(optimizer.param_groups, snapshot.groups, strict=True):
        group.update(saved)
    optimizer.zero_grad(set_to_none=True)
    for hook, tensors in zip(stateful(hooks), snapshot.hooks, strict=True):
        hook.load_state(tensors)


def is_finite(model: nn.Module, exempt: Container[str] = ()) -> bool:
    """Whether every weight and every buffer is finite, but for buffers named exempt; waits for the device once."""
    tensors = [tensor for name, tensor in named_tensors(model).items() if name not in exempt]
    floating = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    return not floating or bool(torch.isfinite(nn.utils.get_total_norm(floating, norm_type=float("inf"))))


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight and buffer once by name, also those that a state dict leaves out; tied ones once."""
    return {name: tensor.data for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def infinite_buffers(model: nn.Module) -> frozenset[str]:
    """Return the names of buffers that are meant to hold Inf, such as the mask of an attention."""
    named = ((name, buffer) for name, buffer in model.named_buffers() if buffer.is_floating_point())
    return frozenset(name for name, buffer in named if not bool(torch.isfinite(buffer).all()))


def _copied(state: Any) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
