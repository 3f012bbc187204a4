"""The training of one built job in its folder: checkpoints on the way, and what is stored at the end or on failure."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, nullcontext

import torch
from torch import Tensor

from trainwell.classifier import Contract
from trainwell.classifier import save as save_classifier
from trainwell.core.recipe import Recipe, decided
from trainwell.core.record import Journal, Reading, Record, read_lines
from trainwell.data.loader import Loader
from trainwell.data.pipeline import Pipeline
from trainwell.data.prepare import Prepared
from trainwell.data.resize import ImageForm
from trainwell.data.samples import first_rows
from trainwell.data.stream import StreamStore
from trainwell.errors import DataInvalid, Interrupted, NonFinite, RunDamaged, RunInvalid
from trainwell.metrics import at_temperature, temperature
from trainwell.train.build import Job
from trainwell.train.checkpoint import load_newest, save
from trainwell.train.evaluate import Evaluation, evaluate
from trainwell.train.events import Event, Events
from trainwell.train.features import path_measures, readings, solve, words_of
from trainwell.train.folder import RunFolder
from trainwell.train.guard import explain, message
from trainwell.train.keep import keep_predictions, keep_samples, remove_predictions
from trainwell.train.loop import Loop
from trainwell.train.neighbours import keep_first_codes, keep_last_codes
from trainwell.train.progress import Progress
from trainwell.train.reporter import Reporter
from trainwell.train.run import Run
from trainwell.train.scoring import final_measures
from trainwell.train.snapshot import Alarm, named_tensors
from trainwell.train.storage import collect, progress_of, put_into

MOST_NAMED = 20  # samples in a report; their count stands beside them
EPOCH_PAUSE_SECONDS = 5.0  # least time between checkpoints at the end of an epoch
CHECKPOINT_SHARE = 0.02  # share of training time that checkpoints may take


def contract_of(recipe: Recipe, prepared: Prepared, *, temperature: float) -> Contract:
    """Return what the classifier of a run is, apart from its weights."""
    form = prepared.summary["form"]
    inputs = prepared.stores.train.gather(torch.zeros(1, dtype=torch.int64)).inputs
    return Contract(
        model=decided(recipe.model),
        preprocessing=decided(recipe.preprocessing),
        input_shape=prepared.input_shape,
        classes=prepared.classes,
        form=form and ImageForm(form["height"], form["width"], form["channels"], form["resize"]),
        dtype="uint8" if inputs.dtype == torch.uint8 else "float32",
        scale=prepared.scale,
        is_streamed=isinstance(prepared.stores.train, StreamStore),
        files=recipe.files,
        temperature=temperature,
        task=prepared.task.name,
        scaling=prepared.scaling,
        columns=prepared.columns,
    )


class Execution:
    """The training of one built job in its folder."""

    def __init__(
        self,
        folder: RunFolder,
        job: Job,
        prepared: Prepared,
        reporter: Reporter,
        begun: float,
        files: ExitStack,
        epochs: int | None = None,
    ) -> None:
        self.folder, self.job, self.prepared, self.begun = folder, job, prepared, begun
        self.reporter = reporter
        if not folder.samples.exists():
            keep_samples(folder, prepared, job.train_pipeline, is_augmented=bool(job.recipe.augmentation))
        if not folder.neighbours.exists():  # the network still has its first weights
            keep_first_codes(folder, job, prepared)
        checkpoint = load_newest(folder.checkpoints)
        self._epochs = epochs
        self._refuse_length(0 if checkpoint is None else progress_of(checkpoint).epoch)
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
        self._epochs_before = progress.epoch
        self._is_resumed = checkpoint is not None
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

    def run(self, is_stopped: Callable[[], bool]) -> Run:
        """Train to the end, then evaluate and store what the run reports."""
        if self._epochs is not None:
            self._extend(self._epochs)
        self.loop.wants_stop = is_stopped
        self.loop.on_pause = self._pause
        if self._is_resumed:
            self.reporter.say(self._where())
        try:
            if self.job.recipe.transfer.is_solved:
                self._solve(is_stopped)
            else:
                self._train()
            return self._finish()
        finally:
            if self.job.freezing is not None:  # the network may be the user's own
                self.job.freezing.release()

    def _where(self) -> str:
        """Say from where a run goes on."""
        done, total = self.loop.progress, self.job.total_steps
        if not self.loop.is_finished:
            return f"going on  at step {done.step} of {total}, epoch {done.epoch + 1} of {done.epochs}"
        if self.job.recipe.transfer.is_solved:
            return "nothing is left to do: the head is solved for; what was held out is measured again"
        ended = f"stopped early after epoch {done.epoch}" if done.is_stopped_early else f"all {total} steps are done"
        return (
            f"nothing is left to do: {ended}; what was held out is measured again, and"
            f" `trainwell resume {self.folder.path} --epochs {2 * done.epoch}` would go further"
        )

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

    def _solve(self, is_stopped: Callable[[], bool]) -> None:
        """Solve for the head on features that are computed once; a run that has done so is as it was."""
        job, progress = self.job, self.loop.progress
        if progress.epoch:
            return
        found = solve(job, self.folder.codes, is_stopped=is_stopped, show=self.reporter.work)
        if found is None:
            raise Interrupted(
                f"stopped before the head was solved for: go on with `trainwell resume {self.folder.path}`"
            )
        solved, codes = found
        self.record.define(path_measures(job.task, job.loss_unit, by_val=solved.by_val))
        self.record.append(readings(solved, codes.get("val"), job.task))
        progress.step, progress.epoch, progress.epochs = len(solved.path), 1, 1
        job.total_steps = progress.step
        self.reporter.say(words_of(solved, codes))
        self._save()

    def _run_loop(self) -> DataInvalid | None:
        """Train; return what a Dataset of the user's raised, if it did."""
        try:
            self.loop.run()
        except DataInvalid as error:
            return error
        return None

    def _refuse_length(self, done: int) -> None:
        """Refuse to go on to a length that is no more than what is done; nothing of the run has been changed then."""
        if self._epochs is None:
            return
        if self.job.recipe.transfer.is_solved:
            raise RunInvalid(
                f"{self.folder.path} solved for its head (transfer.method: features), and there is nothing to train"
                f" further: train the whole network from it with `trainwell fit SOURCE --from {self.folder.path}"
                " --transfer full`"
            )
        if self._epochs <= done:
            raise RunInvalid(
                f"{self.folder.path} has done {done} epochs already: epochs must be more than that, got {self._epochs}"
            )

    def _extend(self, epochs: int) -> None:
        done = self.loop.progress
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
        """Evaluate the weights that the run reports on val and test, and store what comes of it."""
        job, loop, step = self.job, self.loop, self.loop.progress.step
        if loop.best:
            for name, tensor in named_tensors(loop.reported_model).items():
                tensor.copy_(loop.best[name])
        found: dict[str, Evaluation] = {}
        scores: dict[str, Tensor] = {}
        self.record.define(final_measures(job.task, job.loss_unit))
        for name, loader in job.loaders.items():
            if name == "train":
                continue
            found[name], scores[name] = self._final(name, loader)
            values = {"loss": found[name].loss, job.task.score.key: found[name].score}
            self.record.append(Reading(step, f"final/{name}/{key}", value) for key, value in values.items())
        self._deliver(scores)
        keep_last_codes(self.folder, loop.reported_model, job, self.prepared)
        seconds = time.perf_counter() - self.begun
        self.timing.append([{"finished": step, "seconds": round(seconds, 3)}])
        return Run(
            path=self.folder.path,
            recipe=job.recipe,
            classes=job.classes,
            epochs=loop.progress.epoch,
            seconds=seconds,
            val=found.get("val"),
            test=found.get("test"),
            model=loop.reported_model,
            epochs_before=self._epochs_before,
            looks=sum("finished" in line for line in read_lines(self.folder.timing)),
        )

    def _final(self, split: str, loader: Loader) -> tuple[Evaluation, Tensor]:
        """Evaluate the reported weights in float32, as the classifier computes, and return the scores (N, K) too.

        Raises:
            NonFinite: scores are NaN or Inf although all weights are finite.
        """
        job, kept = self.job, list[Tensor]()
        pipeline = Pipeline(
            [], job.evaluation_pipeline.preprocessing, seed=job.recipe.seed, input_shape=self.prepared.input_shape
        )
        found = evaluate(
            self.loop.reported_model, loader, pipeline, job.criterion, nullcontext, task=job.task, kept=kept
        )
        scores = torch.cat(kept).cpu()
        bad = (~torch.isfinite(scores).all(1)).nonzero().flatten().tolist()
        if not bad:
            return found, scores
        names = [self.prepared.name(split, position) for position in bad]
        step, path = self.loop.progress.step, self.folder.path
        report = {"step": step, "split": split, "count": len(bad), "samples": names[:MOST_NAMED]}
        self.events.add(Event(step, "non-finite", report))
        epochs = 2 * max(self.loop.progress.epoch, 1)
        raise NonFinite(
            f"the scores of {len(bad)} of {len(scores)} {split} samples are NaN or Inf after step {step}, although all"
            f" weights are finite, and are stored: {first_rows(names)}; look at these samples, or, where scores grew"
            f" too large, lower the rate with `trainwell set {path} lr=…` and go on with `trainwell resume {path}"
            f" --epochs {epochs}`",
            report,
        )

    def _deliver(self, scores: Mapping[str, Tensor]) -> None:
        """Make confidences honest by what val shows, and store the classifier and the answers.

        Old predictions go first: at no moment do predictions lie beside a classifier that did not make them.
        """
        task, val, fitted = self.prepared.task.name, self.prepared.stores.val, 1.0
        if val is not None and task == "classes":
            fitted = temperature(scores["val"].numpy(), val.targets.numpy())
        contract = contract_of(self.job.recipe, self.prepared, temperature=fitted)
        if task == "classes":
            answers = {name: torch.from_numpy(at_temperature(each.numpy(), fitted)) for name, each in scores.items()}
        else:
            answers = {name: torch.from_numpy(contract.answers(each)) for name, each in scores.items()}
        remove_predictions(self.folder)
        save_classifier(
            self.folder.classifier,
            model=self.loop.reported_model,
            preprocessing=self.job.evaluation_pipeline.preprocessing,
            contract=contract,
            code=self.folder.code,
        )
        keep_predictions(self.folder, self.prepared, answers, step=self.loop.progress.step, temperature=fitted)
