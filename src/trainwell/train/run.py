"""One run from its folder: prepare, resolve, build, train, store, and go on where it stopped."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainwell.core.machine import AutoChoice, check_threads, choose_device, facts
from trainwell.core.own_code import settle_files
from trainwell.core.recipe import Recipe
from trainwell.core.record import Journal, Measure, Reading, Record, read_readings
from trainwell.data.prepare import DataSpec, Prepared, prepare
from trainwell.errors import DataInvalid, Interrupted, NonFinite, RunDamaged, RunInvalid
from trainwell.train.build import Job, build, fit_preprocessing
from trainwell.train.checkpoint import load_newest, save
from trainwell.train.evaluate import Evaluation
from trainwell.train.events import Event, Events
from trainwell.train.folder import RunFolder
from trainwell.train.guard import explain, message
from trainwell.train.loop import Loop
from trainwell.train.progress import Progress
from trainwell.train.reporter import Reporter
from trainwell.train.resolve import choose_members, resolve
from trainwell.train.snapshot import Alarm, named_tensors
from trainwell.train.storage import collect, progress_of, put_into
from trainwell.train.tuning import choose_memory, process_settings, return_freed_memory, threads_of

FINAL_MEASURES = tuple(
    Measure(f"{split}/{name}", unit, f"{words} of the weights that the run reports, on the {place} split")
    for split, place in (("final/val", "val"), ("final/test", "test"))
    for name, unit, words in (("loss", "nats", "mean loss"), ("accuracy", "share of 1", "accuracy"))
)
EPOCH_PAUSE_SECONDS = 5.0  # least time between checkpoints at the end of an epoch
CHECKPOINT_SHARE = 0.02  # share of training time that checkpoints may take


@dataclass(frozen=True, repr=False)
class Run:
    """A run and what came of it.

    Attributes:
        path: the run folder.
        recipe: the resolved recipe.
        classes: names of the classes, in the order of the scores.
        model: the network with the reported weights, if it was trained in this process.
        epochs: passes over the training split that were done.
        seconds: time spent in this process.
        val, test: evaluations of the reported weights; None where there is no such split.
    """

    path: Path
    recipe: Recipe
    classes: tuple[str, ...]
    epochs: int
    seconds: float
    val: Evaluation | None
    test: Evaluation | None
    model: nn.Module | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, val_accuracy={self.val_accuracy}, test_accuracy={self.test_accuracy})"

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on the val split, which chose the weights."""
        return None if self.val is None else self.val.accuracy

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the test split, which was touched once."""
        return None if self.test is None else self.test.accuracy

    @property
    def accuracy(self) -> float | None:
        """Accuracy on test, or on val where there is no test split."""
        return self.val_accuracy if self.test is None else self.test_accuracy

    @property
    def readings(self) -> list[Reading]:
        """Everything that was measured, in order."""
        return read_readings(RunFolder(self.path).record)


@dataclass(frozen=True)
class Given:
    """What was handed over in Python and cannot be written into a recipe: samples, a network, own hooks."""

    data: object = None
    model: nn.Module | None = None
    hooks: Sequence[object] = ()


def execute(folder: RunFolder, recipe: Recipe, given: Given, *, reporter: Reporter, epochs: int | None = None) -> Run:
    """Train the run in a folder from wherever it stands to its end.

    Args:
        folder: a new run folder, or one that holds a run.
        recipe: what its `recipe.yaml` says.
        given: what was handed over in Python.
        reporter: who shows it.
        epochs: go on until this many epochs are done.

    Raises:
        UserError: something the user gave cannot be used; nothing was trained.
        NonFinite: NaN or Inf appeared; the last finite state is stored.
        Interrupted: the user stopped it; the run can be resumed.
    """
    begun = time.perf_counter()
    with folder.owned(), _stop_requests() as is_stopped, ExitStack() as files:
        choices: list[AutoChoice] = []
        recipe = _settle(folder, recipe, choices)
        files.enter_context(process_settings(recipe))
        prepared = _prepare(folder, recipe, given.data, reporter, is_stopped)
        chosen = choose_memory(recipe) if prepared.kind == "images" else None
        choices += [chosen] if chosen is not None else []
        files.callback(return_freed_memory)
        is_resolved = folder.machine.exists()
        if not is_resolved:
            recipe = _choose_data(recipe, prepared, choices)
        fitted = fit_preprocessing(recipe, prepared)
        if not is_resolved:
            for note in fitted.notes:
                reporter.say(note)
            recipe, more = resolve(
                recipe, prepared, fitted, given=given.model, elapsed=lambda: time.perf_counter() - begun
            )
            _write_down(folder, recipe, [*choices, *more], reporter)
        torch.set_num_threads(threads_of(recipe))
        job = build(recipe, prepared, fitted, given=given.model, hooks=given.hooks)
        return _Execution(folder, job, reporter, begun, files).run(epochs, is_stopped)


def _settle(folder: RunFolder, recipe: Recipe, choices: list[AutoChoice]) -> Recipe:
    """Load the user's own files, complete the members' options, choose the device."""
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
    """Write down what the data decided: size and colour of the images, network and preprocessing."""
    for choice in prepared.choices:
        if choice.field != "data.memory_gib":  # follows from what is free just now, and changes no result
            recipe = recipe.with_values({choice.field: choice.value})
    choices += prepared.choices
    return choose_members(recipe, prepared.kind, choices)


def _write_down(folder: RunFolder, recipe: Recipe, choices: Sequence[AutoChoice], reporter: Reporter) -> None:
    """Store the resolved recipe and every choice with its reason; machine.json says that the recipe is resolved."""
    folder.write_text(folder.recipe, recipe.to_yaml())
    plain = [{"field": choice.field, "value": choice.value, "reason": choice.reason} for choice in choices]
    folder.write_json(folder.machine, {**facts(), "choices": plain})
    for choice in choices:
        reporter.say(str(choice))


class _Execution:
    """The training of one built job in its folder."""

    def __init__(self, folder: RunFolder, job: Job, reporter: Reporter, begun: float, files: ExitStack) -> None:
        self.folder, self.job, self.reporter, self.begun = folder, job, reporter, begun
        checkpoint = load_newest(folder.checkpoints)
        for words in checkpoint.damaged if checkpoint is not None else ():
            reporter.say(f"a damaged checkpoint was passed over: {words}")
        self.record = files.enter_context(closing(Record(folder.record)))
        self._cut_record(0 if checkpoint is None else int(checkpoint.state["record_length"]))
        best = {} if checkpoint is None else put_into(job, checkpoint)
        progress = Progress(job.epochs, job.recipe.batch.accumulate) if checkpoint is None else progress_of(checkpoint)
        self.events = files.enter_context(closing(Events(folder)))
        self.events.take_requests(progress.step)
        self.loop = Loop(job, progress, record=self.record, events=self.events, reporter=reporter)
        self.loop.best = best
        self.timing = files.enter_context(closing(Journal(folder.timing)))
        self._saved_at = time.perf_counter()
        self._save_seconds = 0.0
        self._saved = (progress.step, progress.epoch) if checkpoint is not None else (-1, -1)

    def _cut_record(self, length: int) -> None:
        if self.record.length < length:
            raise RunDamaged(
                f"{self.folder.record} is shorter than its newest checkpoint says ({self.record.length} of {length}"
                " bytes): it was altered after it was written: restore it, or start a new run from recipe.yaml"
            )
        self.record.cut(length)

    def run(self, epochs: int | None, is_stopped: Callable[[], bool]) -> Run:
        """Train to the end, then evaluate and store what the run reports."""
        if epochs is not None:
            self._extend(epochs)
        self.loop.wants_stop = is_stopped
        self.loop.on_pause = self._pause
        self._train()
        return self._finish()

    def _train(self) -> None:
        loop = self.loop
        try:
            trouble = self._run_loop()
            loop.drain()
            self._save()
        except Alarm as alarm:
            self._fail(alarm.step)
        if trouble is not None:
            raise DataInvalid(
                f"{trouble}; what was trained is stored: go on with `trainwell resume {self.folder.path}`"
            ) from trouble
        if not loop.is_finished:
            self.events.add(Event(loop.progress.step, "stopped", {}))
            raise Interrupted(
                f"stopped at step {loop.progress.step} of {self.job.total_steps}, everything is stored: go on with"
                f" `trainwell resume {self.folder.path}`"
            )

    def _run_loop(self) -> DataInvalid | None:
        """Train; return what a Dataset of the user's raised, if it did."""
        try:
            self.loop.run()
        except DataInvalid as error:
            return error
        return None

    def _extend(self, epochs: int) -> None:
        done = self.loop.progress
        if epochs <= done.epoch:
            raise RunInvalid(
                f"{self.folder.path} has done {done.epoch} epochs already: epochs must be more than that, got {epochs}"
            )
        if epochs != done.epochs or done.is_stopped_early:
            self.events.add(Event(done.step, "extend", {"epochs": epochs}))
            self.loop.apply_events()

    def _fail(self, step: int) -> None:
        """Roll back, find out why, store the last finite state, and say so."""
        report = explain(self.loop, step)
        self._save()
        self.events.add(Event(self.loop.progress.step, "non-finite", report))
        raise NonFinite(message(report, str(self.folder.path)), report)

    def _pause(self, is_epoch_end: bool) -> None:
        """Store a checkpoint where one is due; called where everything is drained."""
        least = self.job.recipe.machine.checkpoint_seconds
        least = min(least, EPOCH_PAUSE_SECONDS) if is_epoch_end else least
        since = time.perf_counter() - self._saved_at
        if is_epoch_end:
            self.timing.append([self.loop.timing()])
        if since >= least and (least == 0 or since * CHECKPOINT_SHARE >= self._save_seconds):
            self._save()

    def _save(self) -> None:
        loop = self.loop
        place = (loop.progress.step, loop.progress.epoch)
        if place == self._saved:
            return
        start = time.perf_counter()
        loop.guard()
        self.record.sync()
        tensors, state = collect(loop)
        save(self.folder.checkpoints, loop.progress.step, tensors, state)
        self._saved = place
        self._saved_at = time.perf_counter()
        self._save_seconds = self._saved_at - start

    def _finish(self) -> Run:
        """Evaluate the weights that the run reports: val once more, test for the only time."""
        job, loop = self.job, self.loop
        if loop.best:
            for name, tensor in named_tensors(loop.reported_model).items():
                tensor.copy_(loop.best[name])
        val = loop.evaluate(job.loaders.val) if job.loaders.val is not None else None
        test = loop.evaluate(job.loaders.test) if job.loaders.test is not None else None
        self.record.define(FINAL_MEASURES)
        for name, found in (("final/val", val), ("final/test", test)):
            if found is not None:
                values = {"loss": found.loss, "accuracy": found.accuracy}
                self.record.append(Reading(loop.progress.step, f"{name}/{key}", v) for key, v in values.items())
        seconds = time.perf_counter() - self.begun
        self.timing.append([{"finished": loop.progress.step, "seconds": round(seconds, 3)}])
        epochs = loop.progress.epoch
        return Run(self.folder.path, job.recipe, job.classes, epochs, seconds, val, test, loop.reported_model)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
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
