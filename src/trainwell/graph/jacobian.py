"""The local Jacobian of one step of a network: its output with respect to what it read, all other ways closed.

Autograd would follow every way back to an input; x + f(x) with respect to x would give 1 + f'(x). Here the walk stops
at whatever the step read, so that the answer is that of the step alone: 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

Port = tuple[Any, int]  # a step of autograd's and which of its outputs


def local_jacobians(edge: GradientEdge, output: Tensor, sources: Sequence[GradientEdge]) -> list[Tensor | None]:
    """Return d output / d source for each source, the others held.

    Args:
        edge: where the gradient of the output is found; its graph must still be there.
        output: for its shape and type alone.
        sources: what the step read; one that it read twice stands once, and both uses are added.

    Returns:
        (entries of the output, entries of the source) matrices; None where nothing flows from a source.
    """
    ports = [(source.node, source.output_nr) for source in sources]
    order = _order(edge.node, {node for node, _ in ports})
    rows: list[list[Tensor | None]] = [[] for _ in sources]
    with torch.no_grad():
        for basis in torch.eye(output.numel(), dtype=output.dtype, device=output.device):
            found = _pulled_back((edge.node, edge.output_nr), basis.reshape(output.shape), order)
            for row, port in zip(rows, ports, strict=True):
                row.append(found.get(port))
    return [_stacked(row) for row in rows]


def _order(last: Any, stops: set[Any]) -> list[Any]:
    """Return the steps of autograd's from the last back to the stops, each before what it reads."""
    order: dict[Any, None] = {}
    waiting = [(last, False)]
    while waiting:
        step, is_expanded = waiting.pop()
        if is_expanded:
            order.setdefault(step)
        elif step is not None and step not in order and step not in stops:
            waiting += [(step, True), *((before, False) for before, _ in step.next_functions)]
    return list(reversed(order))


def _pulled_back(port: Port, gradient: Tensor, order: Sequence[Any]) -> Mapping[Port, Tensor]:
    """Return what arrives at every port when a gradient is sent back from one."""
    arrived: dict[Port, Tensor] = {port: gradient}
    for step in order:
        ports = [number for node, number in arrived if node is step]
        if not ports or hasattr(step, "variable"):  # a parameter's own end of the graph
            continue
        given = [arrived.get((step, number)) for number in range(max(ports) + 1)]
        given += [None] * (len(step._input_metadata) - len(given))
        answers = step(*given) if callable(step) else step.apply(*given)
        answers = answers if isinstance(answers, tuple) else (answers,)
        for (before, number), answer in zip(step.next_functions, answers, strict=True):
            if before is not None and answer is not None:
                there = (before, number)
                arrived[there] = arrived[there] + answer if there in arrived else answer
    return arrived


def _stacked(rows: Sequence[Tensor | None]) -> Tensor | None:
    known = next((row for row in rows if row is not None), None)
    if known is None:
        return None
    return torch.stack([(torch.zeros_like(known) if row is None else row).flatten() for row in rows])
