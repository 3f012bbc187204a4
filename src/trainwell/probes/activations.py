"""What each layer hands on to the next, read off a forward pass beside the training."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from trainwell.core.record import Measure, Reading
from trainwell.core.shelves import probes
from trainwell.core.state import State
from trainwell.errors import NotExamined
from trainwell.probes.places import underlying
from trainwell.probes.shadow import without_a_trace
from trainwell.probes.watching import END_SHARE, Output, watching

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SAMPLES = 64
WHAT = (
    f"of what a layer hands on, after its activation function where it has one, over the first {SAMPLES} samples of the"
    " step's batch, or of fewer: half of it, or one of the pieces that it is computed in; with modules in training"
    " mode, before the step changes the weights"
)
MOST_SORTED = 4_096  # values of a layer that its quantiles are taken from

Values = NDArray[np.float32]


@probes.card(cost=0.2, layer_seconds=3e-4, weight_passes=6)
class activations:  # noqa: N801 - a shelf member bears the name that users write
    """Mean, spread, quantiles, dead and saturated share of what each layer hands on.

    What it shows: a signal that fades or explodes from layer to layer, units that answer the same to
    every sample, activation functions that are driven into their flat ends. The numbers come from a
    forward pass beside the training, eager and without gradients, in the precision of the run: of the
    first samples of the step's own batch, with the weights in front of the optimizer's step, every
    module in the mode in which it trains (batch norm uses the statistics of these samples, dropout
    drops). It leaves no trace: weights, buffers, attributes and random states are put back.

    What a layer hands on is its output after the last activation function that acts before the next
    layer. It costs a forward pass of these samples and a copy of the weights.
    """

    measures = (
        Measure("activation/mean", "units of the activation", f"mean {WHAT}"),
        Measure("activation/std", "units of the activation", f"standard deviation {WHAT}"),
        Measure("activation/quantile", "units of the activation", f"quantile {WHAT}; its place is `layer@share below`"),
        Measure(
            "activation/dead",
            "share of 1",
            "share of a layer's units (features, or channels of maps) whose activation is the same for all samples and"
            f" positions; {WHAT}",
        ),
        Measure(
            "activation/saturated",
            "share of 1",
            f"share of the values {WHAT} that lie within 1/{1 / END_SHARE:g} of the range from one of its ends; of"
            " activation functions that are bounded on both sides",
        ),
    )

    def __init__(self) -> None:
        pass

    def measure(self, state: State) -> Iterator[Reading]:
        """Return the readings of every layer, in the order in which they act.

        Raises:
            NotExamined: the network fails on these samples, or calls no layer.
        """
        outputs = self._look(state)
        flat = torch.cat([output.rows.flatten() for output in outputs.values()]).cpu().numpy()
        ends = np.cumsum([output.rows.numel() for output in outputs.values()])
        parts: list[Values] = np.split(flat, ends[:-1])
        for (layer, output), part in zip(outputs.items(), parts, strict=True):
            for name, where, value in _numbers(layer, output, part.reshape(output.rows.shape)):
                yield Reading(state.step, f"activation/{name}", float(f"{value:.6g}"), where)

    def _look(self, state: State) -> dict[str, Output]:
        assert state.batch is not None
        model, inputs = underlying(state.model), state.batch.inputs
        piece = len(state.losses[0]) if state.losses else len(inputs)  # memory may not hold more at a time
        count = min(SAMPLES, max(2, len(inputs) // 2), piece)
        try:
            with without_a_trace(model, inputs.device), watching(model) as outputs, state.autocast():
                model(inputs[:count].clone())
        except Exception as error:  # whatever a user's own forward raises
            why = " ".join(str(error).split()) or "it does not say why"
            raise NotExamined(
                f"without gradients the network fails on {count} samples of its batch ({type(error).__name__}: {why})"
            ) from error
        if not outputs:
            raise NotExamined("the network calls no layer that owns weights")
        return dict(outputs)


def _numbers(layer: str, output: Output, rows: Values) -> Iterator[tuple[str, str, float]]:
    """Yield (name, place, value) for what a layer hands on: rows (U, n), n values of each of U units."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges they are Inf and NaN
        mean = rows.mean(dtype=np.float64)
        std = np.sqrt(np.square(rows - np.float32(mean)).mean(dtype=np.float64))
    yield "mean", layer, float(mean)
    yield "std", layer, float(std)
    some = np.sort(rows.ravel()[:: -(-rows.size // MOST_SORTED) | 1])
    for share in QUANTILES:
        yield "quantile", f"{layer}@{share:g}", float(some[round(share * (len(some) - 1))])
    if output.is_activated and rows.shape[1] > 1:
        yield "dead", layer, float((rows.max(axis=1) == rows.min(axis=1)).mean())
    if output.band is not None:
        low, high = output.band
        yield "saturated", layer, np.count_nonzero((rows < low) | (rows > high)) / rows.size
