"""A stand-in for a network, on which it can be run without touching the network itself."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainwell.graph.intact import left_intact

META = "meta"


@dataclass(frozen=True)
class StandIn:
    """What is run in the network's place.

    Attributes:
        network: in the mode that is looked at.
        device: of its inputs; on `meta` only shapes are computed.
        note: how it came about, where that is not by shapes alone.
    """

    network: nn.Module
    device: torch.device
    note: str = ""


class _Unfilled(TorchDispatchMode):
    """While it is on, what would fill a tensor without numbers is left out: torch's own way loads a compiler first."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, unless it only writes over its first tensor."""
        if func._schema.name.endswith("_") and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_numbers() -> Iterator[None]:
    """Build networks in the block as shapes alone, so that no weight is drawn and no memory taken.

    >>> with without_numbers():
    ...     layer = nn.Linear(100_000, 100_000)
    >>> layer.weight.is_meta, layer.weight.shape
    (True, torch.Size([100000, 100000]))
    """
    with torch.device(META), _Unfilled():  # type: ignore[no-untyped-call]
        yield


def of_shapes(network: nn.Module) -> StandIn:
    """Return a copy without numbers: its weights and buffers are shapes, so it is made and run in no time.

    Raises:
        Exception: whatever the network's own parts raise when they are copied.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise TypeError("a scripted part cannot be copied without its numbers")
    tensors = [*network.parameters(), *network.buffers()]
    memo: dict[int, Any] = {id(tensor): _shape_of(tensor) for tensor in tensors}
    return StandIn(copy.deepcopy(network, memo), torch.device(META))


@contextmanager
def of_numbers(network: nn.Module, why: str) -> Iterator[StandIn]:
    """Give a real copy; where the network cannot be copied, itself, put back afterwards exactly as it was.

    Args:
        network: any.
        why: it is not run by its shapes alone.
    """
    first = next((tensor for tensor in (*network.parameters(), *network.buffers())), torch.empty(0))
    try:
        with torch.no_grad():  # a scripted network's copies of weights are results otherwise, and no weights
            twin = copy.deepcopy(network)
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            other.requires_grad_(one.requires_grad)
    except Exception as error:  # a user's own parts: a lock, a tensor within a graph
        said = f"it was run itself, on zeros, and put back as it was, because it cannot be copied: {_said(error)}"
        kept = {module: dict(vars(module)) for module in network.modules()}
        inner = {
            module: {name: dict(vars(module)[name]) for name in ("_parameters", "_buffers", "_modules")}
            for module in kept
        }
        with left_intact(network):
            try:
                yield StandIn(network, first.device, said)
            finally:
                for module, values in kept.items():
                    vars(module).clear()
                    vars(module).update(values)
                    for name, entries in inner[module].items():
                        vars(module)[name].clear()
                        vars(module)[name].update(entries)
    else:
        with left_intact(twin):  # torch's random state: a copy draws from the same generators
            yield StandIn(twin, first.device, why)


def refusal(error: Exception) -> str:
    """Say why a network could not be run by its shapes alone."""
    return f"it was run with real numbers, because it refuses torch's meta device: {_said(error)}"


def _said(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:120]}" if first else type(error).__name__


def _shape_of(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor.detach(), device=META)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
