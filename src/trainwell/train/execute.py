"""Bring the run of a folder to its end: prepare, resolve, build, train, store, from wherever it stands."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from trainwell.core.machine import AutoChoice, check_threads, choose_device, facts
from trainwell.core.own_code import settle_files
from trainwell.core.recipe import Recipe, decided
from trainwell.core.shelves import optimizers
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.errors import DataInvalid, OptionInvalid, RunInvalid
from trainwell.train.build import Job, build, fit_preprocessing
from trainwell.train.execution import Execution
from trainwell.train.folder import RunFolder
from trainwell.train.range_found import FoundRate, judge
from trainwell.train.range_test import refuse_own_steps, sweeps
from trainwell.train.reporter import Reporter, StartReport
from trainwell.train.resolve import resolve
from trainwell.train.run import Given, Run
from trainwell.train.source import Source, open_source, settle_source
from trainwell.train.tuning import choose_memory, process_settings, return_freed_memory, threads_of

Decide = Callable[[Recipe, Prepared, Callable[[], float]], tuple[Recipe, list[AutoChoice]]]


def execute(
    folder: RunFolder, recipe: Recipe, given: Given, *, decide: Decide, reporter: Reporter, epochs: int | None = None
) -> Run:
    """Train the run in a folder from wherever it stands to its end.

    Args:
        folder: a new run folder, or one that holds a run.
        recipe: what its `recipe.yaml` says.
        given: what was handed over in Python.
        decide: chooses the members that a new recipe leaves open, from the data and the seconds gone by.
        reporter: who shows it.
        epochs: go on until this many epochs are done.

    Raises:
        UserError: something the user gave cannot be used; nothing was trained.
        NonFinite: NaN or Inf appeared; the last finite state is stored.
        Interrupted: the user stopped it; the run can be resumed.
    """
    begun = time.perf_counter()
    with folder.owned(), stop_requests() as is_stopped, ExitStack() as files:
        job, prepared = ready(
            folder, recipe, given, decide=decide, reporter=reporter, begun=begun, is_stopped=is_stopped, files=files
        )
        return Execution(folder, job, prepared, reporter, begun, files, epochs).run(is_stopped)


def find_rate(folder: RunFolder, recipe: Recipe, given: Given, *, decide: Decide, reporter: Reporter) -> FoundRate:
    """Return what a range test says of the rates of a recipe; nothing is trained.

    Args:
        folder: a new run folder, for the files of the test.
        recipe, given, decide, reporter: as for `execute`.

    Raises:
        UserError: something the user gave cannot be used, or the optimizer follows no rate.
    """
    name = "auto" if recipe.optimizer == "auto" else recipe.optimizer.name
    if name in optimizers:  # any other is refused with the rest of the recipe
        refuse_own_steps(name)
    with folder.owned(), stop_requests() as is_stopped, ExitStack() as files:
        job, _ = ready(
            folder,
            recipe,
            given,
            decide=decide,
            reporter=reporter,
            begun=time.perf_counter(),
            is_stopped=is_stopped,
            files=files,
        )
        if job.recipe.transfer.is_solved:
            raise OptionInvalid(
                "a range test tries rates, and transfer.method: features takes no steps: say --transfer head, last:K,"
                " full or gradual"
            )
        found = sweeps(job, folder, is_stopped=is_stopped)
        names = {"optimizer": str(decided(job.recipe.optimizer)), "schedule": str(decided(job.recipe.schedule))}
        return judge(found, unit=job.loss_unit, total_steps=job.total_steps, **names)


def ready(
    folder: RunFolder,
    recipe: Recipe,
    given: Given,
    *,
    decide: Decide,
    reporter: Reporter,
    begun: float,
    is_stopped: Callable[[], bool],
    files: ExitStack,
) -> tuple[Job, Prepared]:
    """Return everything that a step needs, built from data and recipe; what was open is chosen and written down.

    Args:
        folder, recipe, given, decide, reporter: as for `execute`.
        begun: when the run began, by the performance counter.
        is_stopped: whether somebody asks to stop.
        files: closed when the work is done; it gives back the settings of the process.

    Raises:
        UserError: something the user gave cannot be used.
    """
    choices: list[AutoChoice] = []
    source = open_source(recipe, folder, reporter)
    recipe = _settle(folder, recipe, choices, source, given.data, reporter)
    files.enter_context(process_settings(recipe))
    prepared = _prepare(folder, recipe, given.data, reporter, is_stopped)
    chosen = choose_memory(recipe) if prepared.kind == "images" else None
    choices += [chosen] if chosen is not None else []
    files.callback(return_freed_memory)
    is_resolved = folder.machine.exists()
    if not is_resolved:
        recipe = _choose_data(recipe, prepared, choices)
        recipe, members = decide(recipe, prepared, lambda: time.perf_counter() - begun)
        choices += members
    if recipe.transfer.is_solved and given.hooks:
        raise OptionInvalid(
            "hooks act in steps, and transfer.method: features solves for the head without any: leave hooks out, or say"
            ' transfer="head", last:K, full or gradual'
        )
    fitted = fit_preprocessing(recipe, prepared, source)
    if not is_resolved:
        for note in fitted.notes:
            reporter.say(note)
        recipe, more = resolve(recipe, prepared, fitted, given=given.model, elapsed=lambda: time.perf_counter() - begun)
        choices += more
        _write_down(folder, recipe, choices)
    torch.set_num_threads(threads_of(recipe))
    job = build(recipe, prepared, fitted, given=given.model, hooks=given.hooks)
    if not is_resolved:
        for note in job.notes:
            reporter.say(note)
        learning, frozen = _counts(job.model)
        frozen = frozen if recipe.transfer.is_on else 0
        reporter.start(StartReport(recipe, prepared.summary, choices, learning, job.total_steps, folder.path, frozen))
    return job, prepared


def _counts(model: nn.Module) -> tuple[int, int]:
    """Return how many numbers of a network learn, and how many are frozen."""
    both = [0, 0]
    for parameter in model.parameters():
        both[not parameter.requires_grad] += parameter.numel()
    return both[0], both[1]


def _settle(
    folder: RunFolder,
    recipe: Recipe,
    choices: list[AutoChoice],
    source: Source | None,
    data: object,
    reporter: Reporter,
) -> Recipe:
    """Take over what a source of weights says, load the user's own files, complete options, choose the device."""
    if source is not None and not folder.machine.exists():
        recipe = settle_source(recipe, source, choices, data=data)
        if source.resize not in (None, recipe.data.resize):
            reporter.say(
                f"images are brought to size by {recipe.data.resize}, and {source.weights.name} saw images that"
                f" were brought to it by {source.resize}: --set data.resize={source.resize} does likewise"
            )
    networks = () if recipe.model == "auto" else (recipe.model.name.rpartition(":")[0],)
    files = settle_files(recipe.files, folder.code, networks=networks)
    recipe = recipe.model_copy(update={"files": files}).validate_shelves()
    if folder.machine.exists():
        return recipe
    if recipe.machine.threads != "auto":
        check_threads(recipe.machine.threads)
    device = choose_device(recipe.machine.device)
    if recipe.machine.device == "auto":
        choices.append(device)
        recipe = recipe.with_values({device.field: device.value})
    return recipe


def _prepare(
    folder: RunFolder, recipe: Recipe, data: object, reporter: Reporter, is_stopped: Callable[[], bool]
) -> Prepared:
    """Decode the data; on a resumed run they must be the data that it was started with."""

    def show(done: int, total: int) -> None:
        if is_stopped():
            raise KeyboardInterrupt
        reporter.work("decoding", done, total)

    section = recipe.data
    if section.source.name == "given" and data is None:
        raise RunInvalid("this run trains on samples that were handed over in Python: pass the same ones as data=")
    spec = DataSpec(
        source=section.source.name,
        options=section.source.options,
        **{name: getattr(section, name) for name in type(section).model_fields if name != "source"},
    )
    prepared = prepare(
        spec,
        seed=recipe.seed,
        threads=threads_of(recipe),
        given=data,
        cache=folder.path / "pack",
        progress=show,
    )
    if folder.data.exists():
        before = json.loads(folder.data.read_text("utf-8"))
        for part in ("decoder", "form"):
            if before[part] != prepared.summary[part]:
                raise DataInvalid(
                    f"the images of {folder.path} would not be the ones that it was started with: {part} is now"
                    f" {prepared.summary[part]}, and was {before[part]}: install that version again, or start a new run"
                )
        if before["membership"] != prepared.summary["membership"]:
            raise DataInvalid(
                f"the data of {folder.path} are not the ones that it was started with (their splits hash to"
                f" {prepared.summary['membership'][:12]}, then {before['membership'][:12]}): restore"
                f" {recipe.data.location or recipe.data.source.name}, or start a new run"
            )
    else:
        folder.write_json(folder.data, prepared.summary)
        for note in prepared.notes:
            reporter.say(note)
    return prepared


def _choose_data(recipe: Recipe, prepared: Prepared, choices: list[AutoChoice]) -> Recipe:
    """Write down what the data decided: size and colour of the images."""
    for choice in prepared.choices:
        if choice.field != "data.memory_gib":  # follows from what is free just now, and changes no result
            recipe = recipe.with_values({choice.field: choice.value})
    choices += prepared.choices
    return recipe


def _write_down(folder: RunFolder, recipe: Recipe, choices: Sequence[AutoChoice]) -> None:
    """Store the resolved recipe and every choice with its reason; machine.json says that the recipe is resolved."""
    folder.write_text(folder.recipe, recipe.to_yaml())
    plain = [{"field": choice.field, "value": choice.value, "reason": choice.reason} for choice in choices]
    folder.write_json(folder.machine, {**facts(), "choices": plain})


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop after the step; the second one acts at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) == 2:
            raise KeyboardInterrupt
        if len(asked) > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
