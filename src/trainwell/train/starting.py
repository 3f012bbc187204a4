"""The first weights of a run: the recipe's initialization, and what a network takes from the data by itself.

An initialization that asks only for shapes comes first, then the network's own `start_on`, which may follow from the
other weights. One that measures activations comes last: it sees the network as it will train, with what `start_on` has
put into frozen and parametrized layers, and leaves those alone.
"""

import math

import torch
from torch import Tensor, nn

from trainwell.core.chance import Chance, derive
from trainwell.core.recipe import Recipe, decided
from trainwell.core.shelves import initializations
from trainwell.data.pipeline import Pipeline
from trainwell.data.prepare import Prepared
from trainwell.initialization import initialize
from trainwell.train.source import Source, fill

# Samples that first weights are taken from, and their pixels at most: 1,024 images of 32x32, or as many patches of
# larger ones, give each weight of a layer of patches a thousand patches or more. Fewer than 16 images are too alike.
MOST_STARTING, STARTING_PIXELS, LEAST_STARTING = 1_024, 1_024 * 32 * 32, 16


def start_weights(
    model: nn.Module, recipe: Recipe, prepared: Prepared, pipeline: Pipeline, source: Source | None = None
) -> tuple[str, ...]:
    """Set the first weights of a network in place, a network that was handed over too; return what is to be said.

    The draws are a function of the recipe's seed. With the initialization `as_built` weights stay as they are. Weights
    of a source come last, over what the network takes from the data.

    Raises:
        ModelInvalid: the initialization can set nothing of this network, or the network cannot take the samples.
        DataInvalid: there are too few samples, or NaN or Inf in them.
    """
    choice = decided(recipe.initialization)
    front = pipeline.preprocessing.layer(prepared.input_shape)
    network = model if front is None else model.get_submodule("1")
    needs_batch = bool(initializations[choice.name].traits.get("needs_batch"))
    generator = torch.Generator().manual_seed(derive(recipe.seed, "initialization", "weights"))
    if needs_batch:
        start_on_data(model, prepared, pipeline, seed=recipe.seed)
        batch = _samples(prepared, pipeline, recipe.seed).float()
        report = initialize(network, choice, generator=generator, batch=batch)
    else:
        report = initialize(network, choice, generator=generator)
        start_on_data(model, prepared, pipeline, seed=recipe.seed)
    if source is not None:
        return (fill(model, source, recipe, prepared, front=front),)
    return (f"initialization {report.summary}",) if report.changed else ()


def start_on_data(model: nn.Module, prepared: Prepared, pipeline: Pipeline, *, seed: int) -> None:
    """Let a network whose first weights depend on the data take them from some preprocessed training samples."""
    front = pipeline.preprocessing.layer(prepared.input_shape)
    network = model if front is None else model.get_submodule("1")
    start_on = getattr(network, "start_on", None)
    if start_on is not None:
        start_on(_samples(prepared, pipeline, seed))


def _samples(prepared: Prepared, pipeline: Pipeline, seed: int) -> Tensor:
    """Return some training samples as the network sees them, behind a layer of the preprocessing too."""
    store = prepared.stores.train
    count = min(MOST_STARTING, max(LEAST_STARTING, STARTING_PIXELS // math.prod(prepared.input_shape[1:])))
    chosen = Chance(seed, "start on data").permutation(0, len(store))[:count]
    inputs = pipeline(store.gather(chosen), 0).inputs
    front = pipeline.preprocessing.layer(prepared.input_shape)  # a fresh one: looking must not move the model's own
    return inputs if front is None else front(inputs.float()).detach()
