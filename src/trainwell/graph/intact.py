"""Look at a network and leave it exactly as it was: mode, weights, gradients, running statistics, randomness."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def left_intact(model: nn.Module) -> Iterator[None]:
    """Restore, whatever happens in the block, everything that a forward and backward pass can change in a network.

    Training modes of all submodules, buffers bit for bit, `requires_grad` and `.grad` of the parameters, and torch's
    random state on the CPU and on the devices of the parameters. Parameters themselves are not written by a pass.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    gradients = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    devices = sorted(
        {p.device.index for p in model.parameters() if p.device.type == "cuda" and p.device.index is not None}
    )
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for parameter, requires_grad, gradient in gradients:
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient
            for module, mode in modes.items():
                module.training = mode
