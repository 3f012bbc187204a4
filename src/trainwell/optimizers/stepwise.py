"""What our own optimizers of first order share: a family writes how state begins and how one step moves."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from trainwell.optimizers.parameters import (
    Parameters,
    is_elsewhere,
    later_group,
    listed,
    refuse_moved_parameters,
    refuse_sparse_gradients,
)

Moments: TypeAlias = dict[str, Any]


class Stepwise(torch.optim.Optimizer):
    """An optimizer that moves each parameter from its gradient and its own state.

    A subclass passes its options to `super().__init__` as defaults and writes `start` and `update`. Parameters
    without a gradient keep every bit and get no state. With `maximize` in a group, `update` sees negated gradients.
    State is tensors and plain immutable values, so that it can be stored and copied; gradients are never changed.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        super().__init__(listed(params, self.builder), {"maximize": False, **defaults})

    @property
    def builder(self) -> Callable[..., Any]:
        """The card's function or class, whose options and name groups and errors go by."""
        return type(self)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's `add_param_group` does; refuses what the constructor refuses."""
        super().add_param_group(later_group(param_group, self.param_groups, self.builder))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; closure, where given, is called first, with gradients enabled, and its result returned.

        Raises:
            OptionInvalid: a gradient is sparse, or the network was cast or moved after the first step.
        """
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            gradients = [parameter.grad for parameter in moving]
            if any(gradient.layout != torch.strided for gradient in gradients):
                refuse_sparse_gradients(self.builder.__name__, self.param_groups)
            if group["maximize"]:
                gradients = list(torch._foreach_neg(gradients))  # pyright: ignore[reportPrivateImportUsage]
            for parameter in moving:
                if not self.state[parameter]:
                    self.state[parameter] = self.start(parameter, group)
            states = [self.state[parameter] for parameter in moving]
            if any(is_elsewhere(value, moving[0]) for value in states[0].values()):  # the others were cast alike
                refuse_moved_parameters(self.builder.__name__, self.param_groups, self.state)
            self.update(group, moving, gradients, states)
        return result

    def start(self, parameter: Tensor, group: dict[str, Any]) -> Moments:
        """Return the state of a parameter before its first step; never empty."""
        raise NotImplementedError

    def update(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[Moments]
    ) -> None:
        """Move the parameters of a group, in place, and their state; gradients must be left as they are."""
        raise NotImplementedError
