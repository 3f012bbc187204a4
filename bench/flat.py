"""What the optimizers of the shelf could be and are not: SGD on one flat tensor of all parameters.

Two ways for the gradients to get there: gathered by `torch.cat` at each step, or as views that autograd adds into.
Both take for granted what a user may break (every parameter has a gradient, nobody re-assigns `.data`), and are here
only to be measured.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

OPTIONS: dict[str, Any] = {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


class Gathered(torch.optim.Optimizer):
    """SGD whose parameters are views of one tensor, and whose gradients are gathered into another."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params, {})
        kinds: dict[Any, list[Tensor]] = {}
        for parameter in self.param_groups[0]["params"]:
            kinds.setdefault((parameter.shape[1:], parameter.stride()[1:]), []).append(parameter)
        self.ordered = [parameter for kind in kinds.values() for parameter in kind]
        size = sum(parameter.numel() for parameter in self.ordered)
        self.weights, self.gradients, self.velocity = torch.empty(size), torch.zeros(size), torch.zeros(size)
        self.places: list[tuple[int, int, Tensor]] = []  # from, to, and where their gradients are gathered
        start = first = 0
        for (rest, strides), kind in kinds.items():
            rows, row = sum(parameter.shape[0] for parameter in kind), kind[0][0].numel()
            gathered = self.gradients.as_strided((rows, *rest), (row, *strides), start)
            self.places.append((first, first + len(kind), gathered))
            first += len(kind)
            for parameter in kind:
                view = self.weights.as_strided(parameter.shape, parameter.stride(), start)
                parameter.data = view.copy_(parameter.data)
                start += parameter.numel()
        self.pointers = [parameter.data_ptr() for parameter in self.ordered]

    @torch.no_grad()
    def step(self, closure: object = None) -> None:
        """Gather and move, if no parameter's memory was replaced."""
        gradients = [parameter.grad for parameter in self.ordered]
        assert list(map(Tensor.data_ptr, self.ordered)) == self.pointers
        for first, last, gathered in self.places:
            torch.cat(gradients[first:last], out=gathered)  # type: ignore[arg-type]
        self.move()

    def move(self) -> None:
        """Call the kernel."""
        torch._fused_sgd_(
            [self.weights], [self.gradients], [self.velocity], dampening=0.0, maximize=False, is_first_step=False,
            **OPTIONS,
        )  # fmt: skip


class Views(Gathered):
    """The same, with gradients that are views which autograd adds into, set to zero in one operation."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params)
        start = 0
        for parameter in self.ordered:
            parameter.grad = self.gradients.as_strided(parameter.shape, parameter.stride(), start)
            start += parameter.numel()
        self.views = [parameter.grad for parameter in self.ordered]

    @torch.no_grad()
    def step(self, closure: object = None) -> None:
        """Move, if neither memory nor gradient of a parameter was replaced."""
        assert all(parameter.grad is view for parameter, view in zip(self.ordered, self.views, strict=True))
        assert list(map(Tensor.data_ptr, self.ordered)) == self.pointers
        self.move()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to zero; they stay views."""
        self.gradients.zero_()
