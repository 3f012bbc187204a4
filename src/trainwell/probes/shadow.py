"""A forward pass beside the training that leaves no trace: weights, buffers and random states stay bit for bit."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def without_a_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a network eagerly and without gradients; afterwards it and all random generators are as they were.

    Put back are the values of all parameters and buffers, the attributes of every module (a counter, a
    tensor kept for later, a buffer that was replaced), generators that are such attributes, and the
    random states of torch, NumPy and Python. Not put back is what a module changes inside an object of
    its own, such as a list that grows.

    Args:
        model: the network itself, not a compiled one or one wrapped for data parallel training.
        device: on which it runs.
    """
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    attributes = [_attributes(module) for module in modules]
    tensors = _tensors(model, attributes)
    copies = [tensor.detach().clone() for tensor in tensors]
    own = (value for kept in attributes for value in kept[0].values() if type(value) is torch.Generator)
    generators = {id(generator): generator for generator in (*own, *_global(device))}.values()
    states = [(generator, generator.get_state()) for generator in generators]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, kept in zip(modules, attributes, strict=True):
            for place, before in zip(_places(module), kept, strict=True):
                place.clear()
                place.update(before)
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.data.copy_(copy)
        for generator, state in states:
            generator.set_state(state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _places(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return the mappings in which a module keeps what belongs to it."""
    return module.__dict__, module._buffers, module._parameters, module._modules


def _attributes(module: nn.Module) -> tuple[dict[str, Any], ...]:
    return tuple(dict(place) for place in _places(module))


def _tensors(model: nn.Module, attributes: list[tuple[dict[str, Any], ...]]) -> list[Tensor]:
    """Return all parameters and buffers that can be written, each once.

    A tensor that was expanded stands several times in the same memory, and nothing can write to it.
    """
    scripted = (module for module in model.modules() if isinstance(module, torch.jit.ScriptModule))
    found = {id(tensor): tensor for module in scripted for tensor in (*module.parameters(), *module.buffers())}
    for _, buffers, parameters, _ in attributes:
        found.update((id(tensor), tensor) for tensor in (*buffers.values(), *parameters.values()))
    held = [tensor for tensor in found.values() if tensor is not None and tensor.numel()]
    return [tensor for tensor in held if tensor.is_contiguous() or 0 not in tensor.stride()]


def _global(device: torch.device) -> list[torch.Generator]:
    """Return torch's own generators that a network on a device draws from."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return generators
