"""The computational graph of any network, as it really runs on one batch: values forward, gradients backward.

>>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
>>> [node.operation for node in network_graph(net, torch.ones(1, 3)).nodes]
['input', 'linear', 'relu', 'linear', 'sum']
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.errors import ModelInvalid
from trainwell.graph.folding import network_sketch, network_table
from trainwell.graph.intact import left_intact
from trainwell.graph.jacobian import local_jacobians
from trainwell.graph.sketch import Sketch
from trainwell.graph.tracing import Call, Tracer

MOST_OUTPUTS, MOST_ENTRIES = 64, 4096  # of a local Jacobian: a walk an output, and what a reader can still use


@dataclass(frozen=True)
class Weight:
    """A parameter that a node reads: its name, shape, norm, and the norm of its gradient (None: none flows)."""

    name: str
    shape: tuple[int, ...]
    norm: float
    gradient_norm: float | None


@dataclass(frozen=True)
class Step:
    """A node of a network's graph: one call of a function.

    Attributes:
        name: unique: the path of the module that made the call, with the operation where it made several.
        operation: of the call: `conv2d`, `add`; `input` for an input.
        module: path of the module; empty for the network itself.
        shape, mean, std: of its value.
        gradient_norm: of the loss with respect to all of its value, summed over what reads it; None: none flows.
        weights: the parameters that it reads.
    """

    name: str
    operation: str
    module: str
    shape: tuple[int, ...]
    mean: float
    std: float
    gradient_norm: float | None
    weights: tuple[Weight, ...]


@dataclass(frozen=True)
class Flow:
    """An edge of a network's graph: one node reads another.

    Attributes:
        source, target: names of nodes.
        jacobian: d target / d source, the target's other operands held, (entries, entries); None where it is too
            large to be of use, or no gradient flows.
    """

    source: str
    target: str
    jacobian: Tensor | None = field(repr=False, compare=False)

    @property
    def norm(self) -> float | None:
        """The Frobenius norm of the local Jacobian."""
        return None if self.jacobian is None else float(self.jacobian.norm())


@dataclass(frozen=True)
class NetworkGraph:
    """Nodes and edges of one pass through a network and its loss.

    Attributes:
        title: what the network is.
        nodes: in the order in which they ran; the loss is the last.
        edges: in the order of their targets; a node that reads another twice has one edge.
    """

    title: str
    nodes: tuple[Step, ...]
    edges: tuple[Flow, ...]

    @property
    def loss(self) -> float:
        """The number whose gradient it is."""
        return self.nodes[-1].mean

    def sketch(self, most: int = 24) -> Sketch:
        """Return boxes and arrows for `pictures.graph`; of a larger network whole modules are one box.

        Args:
            most: boxes.
        """
        return network_sketch(self, most)

    def to_plain(self) -> dict[str, Any]:
        """Return all of it but the Jacobians as plain data for JSON."""
        edges = [{"source": edge.source, "target": edge.target, "local_norm": edge.norm} for edge in self.edges]
        nodes = [{**vars(node), "weights": [vars(weight) for weight in node.weights]} for node in self.nodes]
        return {"network": self.title, "loss": self.loss, "nodes": nodes, "edges": edges}

    def __str__(self) -> str:
        """Return it as a table for the terminal, one line a node, in the order in which they ran."""
        return network_table(self)


def network_graph(
    model: nn.Module, inputs: Tensor | Sequence[Tensor], *, loss: Callable[[Any], Tensor] | None = None
) -> NetworkGraph:
    """Run a network once on a batch and return its graph; the network is left exactly as it was.

    Args:
        model: any network, in the mode that it is in.
        inputs: its input, or several.
        loss: what the network returns -> one number; else the sum of what it returns.

    Raises:
        ModelInvalid: no gradient flows from the loss, or it is not one number.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    leaves = [one.detach().clone().requires_grad_(one.is_floating_point()) for one in given]
    with left_intact(model), torch.enable_grad():
        fed = [leaf.clone() for leaf in leaves]  # no leaves any more: a network may change its input in place
        tracer = Tracer(model, fed)
        with tracer.inside(model):
            answer = model(*fed)
            if loss is None and not isinstance(answer, Tensor):
                raise ModelInvalid(f"the network returns {type(answer).__name__}, not a tensor: pass loss= for it")
            height = answer.sum() if loss is None else loss(answer)
        if height.numel() != 1 or not height.requires_grad:
            shape = tuple(height.shape)
            raise ModelInvalid(f"the loss must be one number that depends on the network's values, got shape {shape}")
        calls = _needed(tracer.calls, tracer.place_of(height))
        names = _names(calls)
        weights = dict(model.named_parameters())
        at_calls, at_weights = _gradients(height, calls, weights)
        nodes = [
            Step(
                *(name, call.operation, call.module, *call.value, norm),
                weights=tuple(
                    Weight(one, tuple(weights[one].shape), float(weights[one].detach().norm()), at_weights.get(one))
                    for one in call.parameters
                ),
            )
            for call, name, norm in zip(calls, names, at_calls, strict=True)
        ]
        edges = [flow for place in range(len(calls)) for flow in _flows(calls, place, names)]
    return NetworkGraph(type(model).__name__, tuple(nodes), tuple(edges))


def _needed(calls: Sequence[Call], last: int) -> list[Call]:
    """Return the calls that the last one depends on, their sources renumbered."""
    needed, waiting = set(), [last]
    while waiting:
        place = waiting.pop()
        if place not in needed:
            needed.add(place)
            waiting += calls[place].sources
    numbers = {place: number for number, place in enumerate(sorted(needed))}
    kept = [calls[place] for place in numbers]
    return [replace(call, sources=[numbers[place] for place in call.sources]) for call in kept]


def _names(calls: Sequence[Call]) -> list[str]:
    """Return a unique name for each call: its module's, with the operation where the module does several things."""
    operations: dict[str, set[str]] = {}
    for call in calls:
        operations.setdefault(call.module, set()).add(call.operation)
    counts: dict[str, int] = {}
    names = []
    for call in calls:
        path = call.module if call.module and len(operations[call.module]) == 1 else ""
        name = path or ".".join(filter(None, (call.module, call.operation)))
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name} #{counts[name]}")
    return names


def _gradients(
    height: Tensor, calls: Sequence[Call], weights: dict[str, nn.Parameter]
) -> tuple[list[float | None], dict[str, float | None]]:
    """Return the norm of the loss's gradient at each call's value and at each parameter; None where none flows."""
    edges = [(place, call.edge) for place, call in enumerate(calls) if call.edge is not None]
    trained = [(name, weight) for name, weight in weights.items() if weight.requires_grad]
    ends: list[Any] = [*(edge for _, edge in edges), *(weight for _, weight in trained)]
    found = torch.autograd.grad(height, ends, retain_graph=True, allow_unused=True)
    norms = [None if one is None else float(torch.linalg.vector_norm(one)) for one in found]
    at_calls: list[float | None] = [None] * len(calls)
    for (place, _), norm in zip(edges, norms, strict=False):
        at_calls[place] = norm
    return at_calls, dict(zip((name for name, _ in trained), norms[len(edges) :], strict=True))


def _flows(calls: Sequence[Call], place: int, names: Sequence[str]) -> Iterator[Flow]:
    """Yield the edges into a call, with a local Jacobian where it is small."""
    call = calls[place]
    sources = list(dict.fromkeys(call.sources))
    count = call.output.numel()
    small = [
        source
        for source in sources
        if call.edge is not None
        and calls[source].edge is not None
        and 0 < count <= MOST_OUTPUTS
        and count * calls[source].output.numel() <= MOST_ENTRIES
    ]
    edges = [edge for edge in (calls[source].edge for source in small) if edge is not None]
    found = local_jacobians(call.edge, call.output, edges) if call.edge is not None and edges else []
    jacobians = dict(zip(small, found, strict=True))
    for source in sources:
        yield Flow(names[source], names[place], jacobians.get(source))
