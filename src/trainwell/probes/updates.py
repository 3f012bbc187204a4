"""How far the real optimizer step moves the weights of each layer, beside how large they are."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import probes
from trainwell.core.state import State
from trainwell.probes.gradients import pooled_norms
from trainwell.probes.places import by_layer


@probes.card(cost=0.0, layer_seconds=4e-5, weight_passes=12)
class update_ratio:  # noqa: N801 - a shelf member bears the name that users write
    """Size of a step beside the size of the weights that it changes, layer by layer.

    What it shows: whether all layers learn at the same rate. About 0.001 is usual; a layer that stays
    far below hardly learns, one far above is torn about. It is read off the weights before and after
    the optimizer's own step, so momentum, weight decay and adaptive rates are all in it. It costs a
    copy of the weights and two passes over them.
    """

    measures = (
        Measure(
            "update/ratio",
            "share of 1 per step",
            "Euclidean norm of what one optimizer step, weight decay included, adds to the weights of a layer, over"
            " the norm of these weights before it; biases and the scales of norms are left out",
        ),
    )

    def __init__(self) -> None:
        self._before: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def measure(self, state: State) -> Iterator[Reading]:
        """Copy the weights; what happens to them is read after the optimizer."""
        layers = by_layer(state.model, least_dims=2)
        self._before = {
            layer: [(weight, weight.detach().clone()) for weight in weights] for layer, weights in layers.items()
        }
        yield from ()

    def measure_update(self, state: State) -> Iterator[Reading]:
        """Return one reading for each layer whose weights are not all zero."""
        pairs, self._before = self._before, {}
        if not pairs:
            return
        before = [[copy for _, copy in layer] for layer in pairs.values()]
        moved = [[torch.sub(weight.detach(), copy) for weight, copy in layer] for layer in pairs.values()]
        norms = pooled_norms([*before, *moved])
        for layer, size, step in zip(pairs, norms, norms[len(pairs) :], strict=False):
            if size > 0:
                yield Reading(state.step, "update/ratio", step / size, layer)
