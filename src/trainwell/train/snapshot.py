"""The last good state of a run, kept in memory: what a step changes, copied, and put back exactly."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.train.hooks import StatefulHook


@dataclass
class Snapshot:
    """Copies of weights, buffers, optimizer state and hook state as they were before one step."""

    step: int
    model: list[Tensor]
    optimizer: dict[Tensor, dict[str, Any]]
    groups: list[dict[str, Any]]
    hooks: list[dict[str, Tensor]]


def take(step: int, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Iterable[object]) -> Snapshot:
    """Copy everything that a step changes; costs one pass over the weights and the optimizer's state."""
    return Snapshot(
        step=step,
        model=[tensor.detach().clone() for tensor in _tensors(model)],
        optimizer={parameter: _copied(state) for parameter, state in optimizer.state.items()},
        groups=[{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        hooks=[_copied(hook.state()) for hook in hooks if isinstance(hook, StatefulHook)],
    )


@torch.no_grad()
def put_back(snapshot: Snapshot, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Iterable[object]) -> None:
    """Make model, optimizer and hooks exactly what they were when the snapshot was taken."""
    for tensor, copy in zip(_tensors(model), snapshot.model, strict=True):
        tensor.copy_(copy)
    optimizer.state.clear()
    for parameter, state in snapshot.optimizer.items():
        optimizer.state[parameter] = _copied(state)
    for group, saved in zip(optimizer.param_groups, snapshot.groups, strict=True):
        group.update(saved)
    optimizer.zero_grad(set_to_none=True)
    stateful = [hook for hook in hooks if isinstance(hook, StatefulHook)]
    for hook, tensors in zip(stateful, snapshot.hooks, strict=True):
        hook.load_state(tensors)


def is_finite(model: nn.Module) -> bool:
    """Whether every weight and buffer is finite; waits for the device once."""
    floating = [tensor for tensor in _tensors(model) if tensor.is_floating_point() and tensor.numel()]
    return not floating or bool(torch.isfinite(nn.utils.get_total_norm(floating, norm_type=float("inf"))))


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.data for parameter in model.parameters()), *model.buffers()]


def _copied(state: Any) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
