"""Networks under the knife: residual units or layers taken out, put in another order, or passed one way only.

Everything here is done by hooks or by a change that is taken back, so that a network is afterwards what it was.

Source: Veit, Wilber & Belongie 2016, "Residual networks behave like ensembles of relatively shallow networks",
arXiv:1605.06431, sections 4 and 5.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainwell.core.shelves import models
from trainwell.lab.plain_loop import Samples, descend, seeded
from trainwell.models.plain import PlainNet
from trainwell.models.preact import PreActResNet, PreActUnit
from trainwell.models.residual import BasicUnit, Bottleneck
from trainwell.models.resnet import ResNet

Unit = BasicUnit | Bottleneck | PreActUnit
FLAT = 0.5  # share of the steps at the full rate, before it falls linearly to zero
MOMENTUM, DECAY = 0.9, 1e-4


def trained(
    choice: tuple[str, Mapping[str, Any]], samples: Samples, *, steps: int, rate: float, batch_size: int, seed: int
) -> tuple[nn.Module, list[float]]:
    """Return a network of the shelf trained on small images, and the loss of each step.

    Momentum 0.9 and weight decay 0.0001, as published; the rate is kept for half of the steps and then falls linearly.
    """
    name, options = choice
    with seeded(seed, "weights"):
        network: nn.Module = models.build(name, dict(options), in_channels=samples.inputs.shape[1], num_classes=10)
    return network, train(network, samples, steps=steps, rate=rate, batch_size=batch_size, seed=seed)


def train(network: nn.Module, samples: Samples, *, steps: int, rate: float, batch_size: int, seed: int) -> list[float]:
    """Train a network in place and return the loss of each step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=DECAY)
    descent, losses = descend(network, samples, optimizer, batch_size=batch_size, seed=seed), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (steps - step) / ((1 - FLAT) * steps))
        losses.append(next(descent))
    return losses


def units_of(network: nn.Module) -> list[Unit]:
    """Return the residual units of a network of the shelf, first to last."""
    assert isinstance(network, ResNet | PreActResNet), "a residual network of the shelf"
    return [unit for stage in network.stages for unit in stage]  # type: ignore[misc]


def same_shape(unit: Unit) -> bool:
    """Say whether the skip of a unit is its input itself."""
    return unit.downsample is None


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a plain net that give the shape they take, so that it can do without them."""
    assert isinstance(network, PlainNet), "a plain net of the shelf"
    found = []
    for stage in network.stages:
        for layer in stage:  # type: ignore[attr-defined]
            first = layer[0]
            if first.in_channels == first.out_channels and first.stride == (1, 1):
                found.append(layer)
    return found


def end_of_branch(unit: Unit) -> nn.Module:
    """Return the module whose output a unit adds to its skip."""
    convolution, norm = unit.last
    return norm if any(norm is part for part in unit.children()) else convolution


@contextmanager
def without(parts: Collection[nn.Module]) -> Iterator[None]:
    """Take residual units or layers out for a while: a unit gives what its skip alone gives, a layer what it takes."""
    with ExitStack() as stack:
        for part in parts:
            if isinstance(part, BasicUnit | Bottleneck | PreActUnit):
                _hooked(stack, end_of_branch(part).register_forward_hook(_zero))
            else:
                _hooked(stack, part.register_forward_hook(_input))
        yield


def _zero(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _input(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0].clone()  # a later activation may work in place


def _hooked(stack: ExitStack, handle: RemovableHandle) -> None:
    stack.callback(handle.remove)


@contextmanager
def reordered(network: nn.Module, orders: Mapping[int, Sequence[int]]) -> Iterator[None]:
    """Let the units of stages stand in another order for a while.

    Args:
        network: a residual network of the shelf.
        orders: number of a stage -> the numbers of its units in their new order.
    """
    assert isinstance(network, ResNet | PreActResNet), "a residual network of the shelf"
    before = {number: list(network.stages[number]) for number in orders}
    try:
        for number, order in orders.items():
            for place, unit in enumerate(order):
                network.stages[number][place] = before[number][unit]
        yield
    finally:
        for number, units in before.items():
            for place, part in enumerate(units):
                network.stages[number][place] = part


@contextmanager
def one_way(units: Sequence[Unit], through: Collection[int]) -> Iterator[None]:
    """Let gradients pass some units through the branch alone and all others through the skip alone, for a while.

    Scores stay what they are; a backward pass then gives the part of the gradient that came along one single path.

    Args:
        units: with an activation behind the sum, or without.
        through: the numbers of those whose branch the path takes.
    """
    with ExitStack() as stack:
        for number, unit in enumerate(units):
            assert not (isinstance(unit, PreActUnit) and unit.is_shared), "its skip begins inside its branch"
            if number not in through:
                _hooked(stack, end_of_branch(unit).register_forward_hook(_detached))
                continue
            given: list[Tensor] = []
            first = unit.pre1 if isinstance(unit, PreActUnit) else unit.conv1
            _hooked(stack, unit.register_forward_pre_hook(_Aside(given)))
            _hooked(stack, first.register_forward_pre_hook(_Back(given)))
        yield


def _detached(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.detach().clone()


class _Aside:
    """Puts the input of a unit aside, and lets it go on without its past."""

    def __init__(self, given: list[Tensor]) -> None:
        self.given = given

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.given.append(inputs[0])
        return (inputs[0].detach(),)


class _Back:
    """Gives the branch the input that was put aside."""

    def __init__(self, given: list[Tensor]) -> None:
        self.given = given

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.given.pop(),)
