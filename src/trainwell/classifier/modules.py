"""A network that is somebody's own: asked, or copied, and left as it was."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def on_cpu(model: nn.Module) -> Iterator[nn.Module]:
    """Lend a network in evaluation mode on the CPU, where every machine computes alike.

    Afterwards the mode of each module, the device and the values of all buffers are what they were. Nothing is copied:
    a module may hold what no copy can be made of.
    """
    modes = [(module, module.training) for module in model.modules()]
    place = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    before = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        yield model.cpu().eval()
    finally:
        model.to(place)
        for module, is_training in modes:
            module.training = is_training
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in before:
                    buffer.copy_(before[name])


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network; results that it keeps of its last pass come along without their graph."""
    with _Detached():
        return copy.deepcopy(model)


class _Detached(TorchFunctionMode):
    """Copies results of a computation, which torch itself refuses to copy."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, except the copy of a tensor that is no leaf."""
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))
