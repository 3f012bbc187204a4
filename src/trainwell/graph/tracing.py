"""What a network computes, call by call, as it really runs: any Python in `forward`, shared and in-place parts too.

Each call of a torch function is seen as it is made and noted with the tensors that it read and gave. Where autograd
knows of a step that is not such a call (a property, a user's own autograd function), the step is found from its graph.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

_OWN_NAMES = {"__add__": "add", "__radd__": "add", "__iadd__": "add_", "__mul__": "mul", "__rmul__": "mul"}


@dataclass
class Call:
    """One step of the computation.

    Attributes:
        operation: name of the function.
        module: path of the module whose `forward` made it; empty for the network itself.
        sources: positions of the steps that it read, in order, one entry a use.
        parameters: names of the parameters that it read.
        value: (shape, mean, std) of what it gave, taken at once: an in-place step may overwrite it.
        edge: where its gradient is found; None where none flows.
    """

    operation: str
    module: str
    sources: list[int]
    parameters: list[str]
    value: tuple[tuple[int, ...], float, float]
    edge: GradientEdge | None
    output: Tensor = field(repr=False)


class Tracer(TorchFunctionMode):
    """While it is on, notes every call of a torch function that gives floats."""

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._module: list[str] = [""]
        self._parameters = {id(parameter): name for name, parameter in model.named_parameters()}
        self._accumulators: dict[Any, str] = {}
        self._places: dict[int, tuple[int, int]] = {}  # id of a tensor -> position of its call, and its version there
        self._steps: dict[Any, int] = {}  # autograd's own step -> position of its call
        for position, one in enumerate(inputs):
            name = "input" if len(inputs) == 1 else f"input {position + 1}"
            self._note(name, [], [], one)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Know, in the block, which submodule is running."""

        def enter(path: str) -> Callable[..., None]:
            return lambda module, args: self._module.append(path)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._module.pop()

        handles: list[Any] = []
        try:
            for path, module in model.named_modules():
                handles += [module.register_forward_pre_hook(enter(path)), module.register_forward_hook(leave)]
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one function and note what it read and gave."""
        name = getattr(func, "__name__", str(func))
        used = list(_tensors((args, dict(kwargs or {}))))
        read = [(position, name) for position, name in map(self._find, used)] if name != "__get__" else []
        result = func(*args, **(kwargs or {}))
        if name == "__get__" or not used:
            return result
        for output in _tensors(args[0] if name == "__setitem__" else result):
            place, version = self._places.get(id(output), (-1, -1))
            if place >= 0 and version == output._version:
                continue  # nothing was done: dropout in eval mode, a `to` that changes nothing
            if output.is_floating_point() and output.device.type != "meta":
                sources = [position for position, _ in read if position is not None]
                parameters = [parameter for _, parameter in read if parameter]
                self._note(_OWN_NAMES.get(name, name.strip("_") or name), sources, parameters, output)
        return result

    def place_of(self, tensor: Tensor) -> int:
        """Return the position of the call that gave a tensor."""
        place = self._find(tensor)[0]
        return len(self.calls) - 1 if place is None else place

    def _note(self, operation: str, sources: list[int], parameters: list[str], output: Tensor) -> int:
        place = len(self.calls)
        edge = get_gradient_edge(output) if output.requires_grad else None
        with torch.no_grad(), torch._C.DisableTorchFunction():
            value = output.detach() if output.is_floating_point() else output.float()
            summary = (tuple(value.shape), float(value.mean()), float(value.std(correction=0)))
        self.calls.append(Call(operation, self._module[-1], sources, parameters, summary, edge, output))
        self._places[id(output)] = place, output._version
        if edge is not None:
            self._steps[edge.node] = place
        return place

    def _find(self, tensor: Tensor) -> tuple[int | None, str]:
        """Return which call gave a tensor, or which parameter it is; neither for constants and buffers."""
        if id(tensor) in self._parameters:
            return None, self._parameters[id(tensor)]
        place = self._places.get(id(tensor), (None, 0))[0]
        if place is not None:
            call = self.calls[place]
            if call.edge is None and tensor.requires_grad:  # given a gradient after the call, by an autograd function
                call.edge = get_gradient_edge(tensor)
                self._steps[call.edge.node] = place
            return place, ""
        if tensor.grad_fn is None or not tensor.is_floating_point():
            return None, ""
        sources, parameters = self._reached(tensor.grad_fn)
        if sources == [self._steps.get(tensor.grad_fn)]:
            return sources[0], ""
        return self._note(tensor.grad_fn.name().removesuffix("Backward0"), sources, parameters, tensor), ""

    def _reached(self, step: Any) -> tuple[list[int], list[str]]:
        """Return the calls and the parameters nearest before a step of autograd's that no call was seen for."""
        sources, parameters, seen, waiting = [], [], set(), [step]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            if here in self._steps:
                sources.append(self._steps[here])
            elif hasattr(here, "variable"):
                parameters += [name for name in [self._parameters.get(id(here.variable))] if name]
            else:
                waiting += [before for before, _ in here.next_functions if before is not None]
        return sorted(sources), parameters


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested arguments or results, each use of it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
