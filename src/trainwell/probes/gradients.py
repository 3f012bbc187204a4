"""How large the gradients are, read from the real `.grad` in front of the real optimizer step."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import probes
from trainwell.core.state import State
from trainwell.probes.places import by_layer


@probes.card(cost=0.0, layer_seconds=2e-5, weight_passes=2)
class gradient_norm:  # noqa: N801 - a shelf member bears the name that users write
    """Euclidean norm of the gradients, of all and of each layer, after clipping, as the optimizer gets them.

    What it shows: the size of the step that the optimizer is asked to take; a norm that grows over
    steps warns of divergence, and one that shrinks from layer to layer of gradients that vanish. It
    costs one pass over the gradients and one wait for the device.
    """

    measures = (
        Measure(
            "gradient/norm",
            "nats per unit of weight",
            "Euclidean norm over all gradients of one step; of a layer: over those of its weights and biases",
        ),
    )

    def __init__(self) -> None:
        pass

    def measure(self, state: State) -> Iterator[Reading]:
        """Return one reading for the whole network, and one for each layer."""
        layers = by_layer(state.model)
        if not layers:
            return
        gradients = [[p.grad for p in parameters if p.grad is not None] for parameters in layers.values()]
        found = pooled_norms(gradients)
        yield Reading(state.step, "gradient/norm", math.hypot(*found))
        for layer, norm in zip(layers, found, strict=True):
            yield Reading(state.step, "gradient/norm", norm, layer)


def pooled_norms(groups: Sequence[Sequence[Tensor]]) -> list[float]:
    """Return the Euclidean norm over all numbers of each group of tensors; waits for the device once.

    >>> pooled_norms([[torch.tensor([3.0]), torch.tensor([4.0])], [torch.ones(4)]])
    [5.0, 2.0]
    """
    flat = [_dense(tensor) for group in groups for tensor in group]
    norms = torch._foreach_norm(flat)  # pyright: ignore[reportPrivateImportUsage]
    each = torch.stack([norm.to(norms[0]) for norm in norms]).tolist()
    parts = iter(each)
    return [math.hypot(*(next(parts) for _ in group)) for group in groups]


def _dense(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor, in float32 where it has fewer bits."""
    held = tensor.coalesce().values() if tensor.is_sparse else tensor
    return held.float() if held.element_size() < 4 else held
