"""From a resolved recipe and prepared data to everything that a step needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch, Splits
from trainwell.core.recipe import Recipe, decided
from trainwell.core.shelves import augmentations, losses, optimizers, preprocessings, probes, schedules
from trainwell.core.state import Probe
from trainwell.core.task import Task
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline
from trainwell.data.prepare import Prepared
from trainwell.data.preprocessing.fitting import Preprocessing, fit_on
from trainwell.errors import ModelInvalid, OptionInvalid
from trainwell.losses import class_weights
from trainwell.models.auxiliary import with_auxiliaries
from trainwell.models.building import build_network
from trainwell.optimizers.groups import parameter_groups
from trainwell.train.freezing import Freezing
from trainwell.train.hooks import standard_hooks
from trainwell.train.penalizing import Penalties
from trainwell.train.source import Source
from trainwell.train.starting import start_weights

EVALUATION_BATCH = 256
UNFROZEN = ("auto", "none", "full")  # methods that let everything learn


@dataclass
class Job:
    """Everything that a step needs, built and on its device.

    Attributes:
        task: what is to be answered; `classes`: the names of the outputs.
        criterion: (logits (N, K), targets) -> (N,) losses; `loss_unit`: what one of them is.
        penalties: what is added to the loss, built around the network.
        schedule: step -> multiplier of each group's `initial_lr`.
        loaders: train shuffled; val and test in order.
        train_pipeline: augmentation and preprocessing; `evaluation_pipeline`: preprocessing alone.
        name_of: position in the train split -> what a person calls that sample.
        hooks: objects that act, in order; `probes`: instruments that look, every `probe_every` steps.
        freezing: which parts learn, where the network begins from weights learned elsewhere; one of the hooks.
        notes: what is to be said of how the network was started.
    """

    recipe: Recipe
    task: Task
    classes: tuple[str, ...]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Callable[[Tensor, Tensor], Tensor]
    loss_unit: str
    penalties: Penalties
    schedule: Callable[[int], float]
    loaders: Splits[Loader]
    train_pipeline: Pipeline
    evaluation_pipeline: Pipeline
    device: torch.device
    epochs: int
    steps_per_epoch: int
    total_steps: int
    name_of: Callable[[int], str]
    probe_every: int
    probes: tuple[Probe, ...] = ()
    hooks: list[object] = field(default_factory=list)
    freezing: Freezing | None = None
    notes: tuple[str, ...] = ()

    def train(self) -> None:
        """Put the network into training mode, except what is frozen."""
        self.model.train()
        if self.freezing is not None:
            self.freezing.quiet()

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network runs: lower precision, or nothing at all."""
        if self.recipe.machine.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()


@dataclass(frozen=True)
class Fitted:
    """What a run begins from: its preprocessing, fitted on its train split once or taken over, with what is to be said
    of it, and the weights that were learned elsewhere, if it has any.
    """

    preprocessing: Preprocessing
    notes: tuple[str, ...]
    source: Source | None = None


def build(
    recipe: Recipe,
    prepared: Prepared,
    fitted: Fitted,
    *,
    given: nn.Module | None = None,
    hooks: Sequence[object] = (),
) -> Job:
    """Build everything that the steps of a resolved recipe need, around the fitted preprocessing.

    Raises:
        ModelInvalid: the network does not fit the data.
        OptionInvalid: an option does not fit the data.
    """
    device = torch.device(recipe.machine.device)
    _refuse_blind_patience(recipe, prepared.stores)
    train_pipeline, evaluation_pipeline = build_pipelines(recipe, prepared, fitted)
    model, notes = _started(recipe, prepared, evaluation_pipeline, fitted.source, given=given)
    model = model.to(device, memory_format=_memory_format(recipe))  # type: ignore[call-overload]
    size, every = decided(recipe.batch.size), decided(recipe.machine.probe_every)
    loaders = _loaders(recipe, prepared, size, device)
    epochs = int(recipe.length.epochs)
    every_epoch = loaders.train.steps_per_epoch
    loss = decided(recipe.loss)
    steps = min(recipe.length.steps or epochs * every_epoch, epochs * every_epoch)
    inputs = partial(_inputs, loaders.train, evaluation_pipeline)
    freezing = [] if recipe.transfer.method in UNFROZEN else [Freezing(model, recipe.transfer, total_steps=steps)]
    return Job(
        recipe=recipe,
        task=prepared.task,
        classes=prepared.classes,
        model=model,
        optimizer=build_optimizer(recipe, model),
        criterion=with_auxiliaries(losses.build(loss.name, loss.options), model),
        loss_unit=losses[loss.name].traits.get("unit", "unit of the loss"),
        penalties=Penalties(recipe.penalties, model),
        schedule=build_schedule(recipe, steps, every_epoch),
        loaders=loaders,
        train_pipeline=train_pipeline,
        evaluation_pipeline=evaluation_pipeline,
        device=device,
        epochs=-(-steps // every_epoch),
        steps_per_epoch=every_epoch,
        total_steps=steps,
        name_of=lambda position: prepared.name("train", position),
        probe_every=every,
        probes=tuple(probes.build(choice.name, choice.options) for choice in recipe.probes),
        hooks=[*freezing, *standard_hooks(recipe, model, total_steps=steps, inputs=inputs), *hooks],
        freezing=next(iter(freezing), None),
        notes=(*notes, *_of_schedule(recipe, prepared.stores)),
    )


def _started(
    recipe: Recipe, prepared: Prepared, pipeline: Pipeline, source: Source | None, *, given: nn.Module | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network with its first weights, and what is to be said of them."""
    model = build_network(
        decided(recipe.model),
        prepared.input_shape,
        len(prepared.classes),
        seed=recipe.seed,
        files=recipe.files,
        given=given,
        front=pipeline.preprocessing.layer(prepared.input_shape),
    )
    return model, start_weights(model, recipe, prepared, pipeline, source)


def _memory_format(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.machine.memory_format == "channels_last" else torch.preserve_format


def _refuse_blind_patience(recipe: Recipe, stores: Splits[Any]) -> None:
    if recipe.regularization.patience is not None and stores.val is None:
        raise OptionInvalid(
            "regularization.patience watches the val split, and these data have none: set data.val_fraction above 0,"
            " or bring a val split"
        )


def _of_schedule(recipe: Recipe, stores: Splits[Any]) -> tuple[str, ...]:
    """Say it where a schedule would watch the val split and there is none."""
    choice = decided(recipe.schedule)
    if choice.options.get("watch") != "val" or stores.val is not None:
        return ()
    why = "which also falls while a network learns by heart: these data have no val split"
    return (f"schedule  {choice.name} watches train/loss, {why}",)


def _loaders(recipe: Recipe, prepared: Prepared, size: int, device: torch.device) -> Splits[Loader]:
    stores, weight = prepared.stores, None
    if recipe.regularization.class_weights == "balanced":
        if prepared.task.name != "classes":
            raise OptionInvalid(
                f"regularization.class_weights=balanced weighs classes, and these data have {prepared.task.name}: set"
                " it to none"
            )
        weight = class_weights(stores.train.targets, len(prepared.classes))[stores.train.targets]
    train = Loader(stores.train, batch_size=size, seed=recipe.seed, shuffle=True, device=device, sample_weight=weight)
    rest = {
        name: Loader(store, batch_size=max(size, EVALUATION_BATCH), seed=recipe.seed, shuffle=False, device=device)
        for name, store in stores.items()
        if name != "train"
    }
    return Splits(train, rest.get("val"), rest.get("test"))


def _inputs(loader: Loader, pipeline: Pipeline) -> Iterator[Tensor]:
    """Yield what the network is given of one epoch, batch by batch."""
    return (pipeline(batch, 0).inputs for batch in loader.epoch(0))


def fit_preprocessing(recipe: Recipe, prepared: Prepared, source: Source | None = None) -> Fitted:
    """Fit the recipe's preprocessing on the train split, and on nothing else; take over that of a source.

    One thread computes, because sums over more are rounded differently, and a run that chooses its threads must fit to
    the same bits as its rerun, which knows them.
    """
    choice = decided(recipe.preprocessing)
    preprocessing = preprocessings.build(choice.name, choice.options)
    if source is not None and source.weights.preprocessing == choice and source.state:
        preprocessing.load_state(source.state)
        return Fitted(preprocessing, (f"preprocessing: as {source.weights.name} was trained, not fitted anew",), source)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        said = fit_on(preprocessing, prepared.stores.train, seed=recipe.seed)
    finally:
        torch.set_num_threads(threads)
    return Fitted(
        preprocessing, tuple(f"preprocessing: {note}" for note in (said, *preprocessing.notes) if note), source
    )


def build_pipelines(recipe: Recipe, prepared: Prepared, fitted: Fitted) -> tuple[Pipeline, Pipeline]:
    """Return the pipelines of training and of evaluation."""
    chain = [augmentations.build(choice.name, choice.options) for choice in decided(recipe.augmentation)]
    shape, dtype, count = prepared.input_shape, getattr(torch, recipe.machine.precision), len(prepared.stores.train)
    ready = fitted.preprocessing
    return (
        Pipeline(chain, ready, seed=recipe.seed, input_shape=shape, dtype=dtype, samples=count),
        Pipeline([], ready, seed=recipe.seed, input_shape=shape, dtype=dtype),
    )


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer over the decay groups of a model; each group keeps its `initial_lr`."""
    choice = decided(recipe.optimizer)
    decay = float(choice.options.get("weight_decay", 0.0))
    groups = parameter_groups(model, decay, rates=recipe.rates)
    optimizer: torch.optim.Optimizer = optimizers.build(choice.name, choice.options, params=groups)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] * group.get("lr_factor", 1.0)
    return optimizer


def build_schedule(recipe: Recipe, total_steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the schedule for a run of so many steps; one that follows the losses as it is before the first."""
    choice = decided(recipe.schedule)
    facts = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    schedule: Callable[[int], float] = schedules.build(choice.name, choice.options, **facts)
    return schedule


def check_outputs(logits: object, batch: Batch, num_classes: int, task: Task) -> None:
    """Refuse outputs that are not (N, K).

    Raises:
        ModelInvalid: the network answers with something else.
    """
    if not isinstance(logits, Tensor):
        raise ModelInvalid(f"the network must return a tensor (N, K) of raw scores, got {type(logits).__name__}")
    expected = (len(batch), num_classes)
    if tuple(logits.shape) != expected:
        one = "one output a number" if task.name == "numbers" else f"one raw score a {task.output}"
        raise ModelInvalid(
            f"the network must return (N, K) = {expected}, {one} for each of the {len(batch)} inputs"
            f" {tuple(batch.inputs.shape)}, got {tuple(logits.shape)}: check its last layer"
        )
