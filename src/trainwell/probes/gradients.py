"""How large the gradients are, read from the real `.grad` in front of the real optimizer step."""

from collections.abc import Iterator

from torch import nn

from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import probes
from trainwell.core.state import State


@probes.card(cost=0.5)
class gradient_norm:  # noqa: N801 - a shelf member bears the name that users write
    """Global Euclidean norm of all gradients, after clipping and before the optimizer uses them.

    What it shows: the size of the step that the optimizer is asked to take; a norm that grows over
    steps warns of divergence. It costs one pass over the gradients and one wait for the device.
    """

    measures = (Measure("gradient/norm", "nats per unit of weight", "Euclidean norm over all gradients of one step"),)

    def __init__(self) -> None:
        pass

    def measure(self, state: State) -> Iterator[Reading]:
        """Return one reading for the whole network."""
        gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
        if gradients:
            yield Reading(state.step, "gradient/norm", float(nn.utils.get_total_norm(gradients)))
