"""torch's one-kernel optimizers, made safe where they silently go wrong.

torch's fused kernels update all parameters in one pass over memory, several times faster than a
Python loop. They take two things for granted: that state and gradient lie in memory in the same
order as their parameter, and that all velocities of SGD begin at the same step. A checkpoint or a
gradient set by hand breaks the first without an error; a layer that thaws in mid-run breaks the
second. `guard` keeps both.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from trainwell.optimizers.parameters import refuse_moved_parameters

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def is_on_cpu(parts: Iterable[Any]) -> bool:
    """Whether all parameters of a list that `listed` returned are on the CPU, where torch's Python costs most.

    >>> is_on_cpu([torch.zeros(1)]), is_on_cpu([torch.zeros(1), torch.zeros(1, device="meta")])
    (True, False)
    """
    return {tensor.device.type for tensor in _tensors(parts)} == {"cpu"}


def can_fuse(parts: Iterable[Any]) -> bool:
    """Whether torch's fused kernels can serve all parameters of a list that `listed` returned.

    >>> can_fuse([torch.zeros(1)]), can_fuse([{"params": [torch.zeros(1, device="meta")]}])
    (True, False)
    """
    return all(tensor.device.type in FUSED_DEVICES for tensor in _tensors(parts))


def _tensors(parts: Iterable[Any]) -> Iterator[Tensor]:
    for part in parts:
        for tensor in part["params"] if isinstance(part, dict) else [part]:
            yield tensor[1] if isinstance(tensor, tuple) else tensor


def guard(optimizer: torch.optim.Optimizer) -> None:
    """Keep what the fused kernels take for granted true from now on, by hooks of the optimizer.

    Costs about a microsecond a parameter and step.
    """
    optimizer.register_load_state_dict_post_hook(_lay_out_state)
    optimizer.register_step_pre_hook(_lay_out_all)


def start_velocities(optimizer: torch.optim.Optimizer) -> None:
    """Begin each velocity at zero when its first gradient is there, so that a gradient may appear at any step.

    v = momentum * 0 + g is the same first step as torch's v = g. torch's fused SGD fails with a
    TypeError when some parameters have a velocity and others, thawed later, do not.
    """
    optimizer.register_step_pre_hook(_fill_velocities)


def _fill_velocities(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if len(optimizer.state) == sum(len(group["params"]) for group in optimizer.param_groups):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and not optimizer.state.get(parameter):
                optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}


def _lay_out_all(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Re-lay gradients and state that stand in another order than their parameter; refuse state of another type."""
    owner = getattr(optimizer, "owner", type(optimizer).__name__)
    refuse_moved_parameters(owner, optimizer.param_groups, optimizer.state)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if parameter.grad.stride() != parameter.stride():
                parameter.grad = like(parameter, parameter.grad)
            lay_out(parameter, optimizer.state.get(parameter, {}))


def _lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        lay_out(parameter, state)


def lay_out(parameter: Tensor, state: dict[str, Any]) -> None:
    """Re-lay, in place, the tensors of a parameter's state that have its shape."""
    strides = parameter.stride()
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != strides:
            state[name] = like(parameter, value)


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return value with the strides of parameter."""
    return torch.empty_strided(parameter.shape, parameter.stride(), dtype=value.dtype, device=value.device).copy_(value)
