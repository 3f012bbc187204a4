"""Decides everything that a recipe leaves open, once, before step 0, each with its reason.

The choices follow rules on the data and on machine facts. Only `--minutes` needs a clock; its answer
is written into the resolved recipe, so resume and rerun never choose again.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainwell.core.batch import Batch
from trainwell.core.chance import StepChance
from trainwell.core.machine import AutoChoice, choose_memory_format, choose_threads, propose_precision
from trainwell.core.recipe import Recipe, decided, training_seconds
from trainwell.core.shelves import probes
from trainwell.core.state import State
from trainwell.data.prepare import Prepared
from trainwell.errors import ModelInvalid, UserError
from trainwell.train.build import Fitted, Job, build, check_outputs
from trainwell.train.cadence import Work, choose_interval, cost_of_look
from trainwell.train.evaluate import evaluation_mode, is_out_of_memory
from trainwell.train.retaking import Retakes, needs_closure, refuse_what_acts_on_gradients

REHEARSED_STEPS = 3
REHEARSED_SAMPLES = 32  # of each batch in these steps
TIMED_STEPS = 8
PRECISION_TOLERANCE = 0.05  # relative difference of the losses of the first steps that bfloat16 may show
MOST_TIMED_EPOCHS = 300
WHOLE_EPOCHS = 20  # from here on the part of an epoch that would be left unused is below 5 % of the time


def resolve(
    recipe: Recipe,
    prepared: Prepared,
    fitted: Fitted,
    *,
    given: nn.Module | None = None,
    elapsed: Callable[[], float],
) -> tuple[Recipe, list[AutoChoice]]:
    """Return the resolved recipe and the choices made, each with its reason.

    Args:
        recipe: its members and device are chosen already; anything else may be `auto`.
        prepared: the data, decoded; `fitted`: the preprocessing, fitted on them.
        given: the user's own network, where the recipe's model is `given`.
        elapsed: seconds since the run began, for `--minutes`.

    Raises:
        ModelInvalid: the network does not fit the data.
    """
    choices: list[AutoChoice] = []
    if needs_closure(recipe):
        refuse_what_acts_on_gradients(recipe)
    if recipe.machine.memory_format == "auto":
        chosen = choose_memory_format("auto", input_dims=1 + len(prepared.input_shape))
        choices.append(chosen)
        recipe = recipe.with_values({chosen.field: chosen.value})
    fixed = {"machine.precision": "float32", "length.epochs": 1, "length.minutes": None, "length.steps": None}
    fixed |= {"machine.probe_every": 1, "schedule": "constant"}  # the recipe's own may not fit into one epoch
    if recipe.transfer.method == "gradual":  # most of its steps are those of the whole network
        fixed["transfer.method"] = "full"
    trial = recipe.with_values(fixed)

    def rehearsal(precision: str) -> Job:
        with_precision = trial.with_values({"machine.precision": precision})
        return build(with_precision, prepared, fitted, given=copy.deepcopy(given))

    job = rehearsal("float32")
    batches = list(itertools.islice(job.loaders.train.epoch(0), REHEARSED_STEPS))
    multiply_adds = count_multiply_adds(job, batches[0])
    if recipe.machine.threads == "auto":
        threads = choose_threads(multiply_adds=multiply_adds)
        choices.append(threads)
        recipe = recipe.with_values({threads.field: threads.value})
        torch.set_num_threads(threads.value)
    precision = _choose_precision(recipe, job, batches, multiply_adds, rehearsal, choices)
    recipe = recipe.with_values({"machine.precision": precision})
    if recipe.machine.deterministic and job.device.type == "cuda":
        choices.append(_cost_of_determinism(rehearsal(precision), batches))
    if recipe.length.minutes is not None:
        recipe = _choose_length(recipe, rehearsal(precision), batches, elapsed, choices)
    if recipe.machine.probe_every == "auto":
        interval = probe_interval(recipe, job, multiply_adds)
        choices.append(interval)
        recipe = recipe.with_values({interval.field: interval.value})
    return recipe, choices


def probe_interval(recipe: Recipe, job: Job, multiply_adds: float) -> AutoChoice:
    """Choose how often the probes look, from the length of the run and the size of its network."""
    steps = int(recipe.length.epochs) * job.steps_per_epoch
    steps = min(steps, recipe.length.steps or steps)
    parameters = list(job.model.parameters())
    work = Work(
        multiply_adds,
        layers=sum(parameter.ndim >= 2 for parameter in parameters),
        weights=sum(parameter.numel() for parameter in parameters),
        threads=decided(recipe.machine.threads),
        device=job.device.type,
    )
    cost = cost_of_look((probes[choice.name].traits for choice in recipe.probes), work)
    return choose_interval(cost, steps=steps, budget=recipe.machine.probe_budget)


def _choose_precision(
    recipe: Recipe,
    job: Job,
    batches: list[Batch],
    multiply_adds: float,
    rehearsal: Callable[[str], Job],
    choices: list[AutoChoice],
) -> str:
    """Take a lower precision only where it pays and where its first steps agree with float32."""
    proposed = propose_precision(recipe.machine.precision, job.device, multiply_adds=multiply_adds)
    if recipe.machine.precision != "auto":
        return recipe.machine.precision
    if needs_closure(recipe):
        reason = f"{decided(recipe.optimizer).name} solves equations, which bfloat16 would round away"
        proposed = AutoChoice(proposed.field, "float32", reason)
    if proposed.value == "float32":
        choices.append(proposed)
        return "float32"
    batches = [next(iter(batch.split(-(-len(batch) // REHEARSED_SAMPLES)))) for batch in batches]
    plain = _first_losses(job, batches)
    lower = _first_losses(rehearsal(str(proposed.value)), batches)
    difference = max(abs(a - b) / max(abs(a), 1e-3) for a, b in zip(plain, lower, strict=True))
    agreement = f"the losses of its first {len(batches)} steps differ from float32 by at most {100 * difference:.2g} %"
    if difference <= PRECISION_TOLERANCE:
        choices.append(AutoChoice(proposed.field, proposed.value, f"{proposed.reason}; {agreement}"))
        return str(proposed.value)
    refused = f"{proposed.value} refused: {agreement}, allowed are {100 * PRECISION_TOLERANCE:g} %"
    choices.append(AutoChoice(proposed.field, "float32", refused))
    return "float32"


def count_multiply_adds(job: Job, batch: Batch) -> float:
    """Count the multiply-adds of one forward pass of a batch; also refuses a network that does not fit.

    Raises:
        ModelInvalid: the network cannot take these inputs, or answers with the wrong shape.
    """
    few = next(iter(job.evaluation_pipeline(batch, 0).split(-(-len(batch) // 2))))
    try:
        with evaluation_mode(job.model), job.autocast(), FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = job.model(few.inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise ModelInvalid(
            f"the network cannot take inputs of shape {tuple(few.inputs.shape)}: {error}: check its first layers"
        ) from error
    check_outputs(logits, few, len(job.classes), job.task)
    return float(counter.get_total_flops() / 2 * len(batch) / len(few))


def _first_losses(job: Job, batches: Iterable[Batch]) -> list[float]:
    """Train a throwaway copy for a few steps and return the loss of each; the draws of a step are the run's own."""
    job.train()
    is_cuda, retakes = job.device.type == "cuda", Retakes.of(job)
    chance, pieces = StepChance(job.recipe.seed, device=job.device), job.recipe.batch.accumulate
    losses: list[float] = []
    with torch.random.fork_rng(devices=[job.device] if is_cuda else []):
        for step, raw in enumerate(batches):
            batch = job.train_pipeline(raw, 0)
            while True:
                chance.reseed(step)
                job.optimizer.zero_grad(set_to_none=True)
                try:
                    if retakes is not None:
                        losses.append(_second_order_step(job, retakes, batch))
                    else:
                        losses.append(sum(_backward(job, piece, len(batch)) for piece in batch.split(pieces)))
                    break
                except RuntimeError as error:
                    if retakes is not None or not is_out_of_memory(error) or pieces * 2 > len(batch):
                        raise
                    pieces *= 2
            if retakes is None:
                job.optimizer.step()
    return losses


def _second_order_step(job: Job, retakes: Retakes, batch: Batch) -> float:
    state = State(job.model, job.optimizer, batch=batch)
    retakes.begin(state, lambda piece, whole: torch.full((len(piece),), 1 / len(whole), device=job.device))
    retakes.step(state)
    return float(state.losses[0].mean())


def _backward(job: Job, piece: Batch, total: int) -> float:
    with job.autocast():
        logits = job.model(piece.inputs)
    loss = job.criterion(logits.float(), piece.targets).sum() / total
    loss.backward()
    return float(loss.detach())


def _cost_of_determinism(job: Job, batches: list[Batch]) -> AutoChoice:
    """Time some steps with and without deterministic kernels, which only CUDA has two sorts of."""
    seconds = {}
    for is_deterministic in (False, True):
        torch.use_deterministic_algorithms(is_deterministic)
        _first_losses(job, batches)  # the first steps also pay for start-up
        start = time.perf_counter()
        _first_losses(job, (batches[i % len(batches)] for i in range(TIMED_STEPS)))
        seconds[is_deterministic] = time.perf_counter() - start
    ratio = seconds[True] / seconds[False]
    return AutoChoice("machine.deterministic", True, f"asked for; a step takes {ratio:.2f} times as long with it")


def _choose_length(
    recipe: Recipe, job: Job, batches: list[Batch], elapsed: Callable[[], float], choices: list[AutoChoice]
) -> Recipe:
    """Choose how many epochs, or steps, fit into the minutes allowed."""
    minutes = recipe.length.minutes
    assert minutes is not None
    _first_losses(job, batches)  # the first steps also pay for start-up
    start = time.perf_counter()
    _first_losses(job, (batches[i % len(batches)] for i in range(TIMED_STEPS)))
    step_seconds = (time.perf_counter() - start) / TIMED_STEPS
    steps = job.steps_per_epoch
    val = job.loaders.val.count if job.loaders.val is not None else 0
    epoch_seconds = step_seconds * (steps + val / len(batches[0]) / 3)
    left = training_seconds(minutes, elapsed())
    passes = min(float(MOST_TIMED_EPOCHS), left / epoch_seconds)
    epochs = max(1, math.floor(passes) if passes >= WHOLE_EPOCHS else math.ceil(passes))
    reason = f"a step takes {step_seconds * 1000:.1f} ms, so {minutes:g} minutes hold {left / epoch_seconds:.1f} epochs"
    reason += f"; more than {MOST_TIMED_EPOCHS} hardly help" if passes == MOST_TIMED_EPOCHS else ""
    choices.append(AutoChoice("length.epochs", epochs, reason))
    values: dict[str, Any] = {"length.epochs": epochs, "length.minutes": None}
    if passes < epochs and recipe.length.steps is None:
        values["length.steps"] = max(1, int(min(passes * steps, left / step_seconds)))
        reason = "less than one epoch fits" if passes < 1 else f"{passes:.1f} epochs fit: the last one is cut short"
        choices.append(AutoChoice("length.steps", values["length.steps"], reason))
    return recipe.with_values(values)
