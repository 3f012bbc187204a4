"""The training loop, and the only description of the order in which things happen in a step.

    events of this step ─ before_step ─ lr ─ augment ─ before_forward ─ forward ─ losses ─ backward
    ─ penalties ─ after_backward (clipping) ─ probes look ─ optimizer ─ probes look ─ after_step (averages) ─ buffer

Every `DRAIN_STEPS` steps, and at least every second, the buffered losses come to the host, are recorded
and guarded; a non-finite one rolls the run back to the last good state. At the end of an epoch val is
evaluated. When losses are drained changes no result.
"""

import resource
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from trainwell.core.batch import Batch
from trainwell.core.chance import StepChance
from trainwell.core.record import Reading, Record
from trainwell.core.state import State
from trainwell.data.loader import Loader
from trainwell.errors import MemoryExhausted
from trainwell.regularization import EarlyStopping
from trainwell.train import driving
from trainwell.train.buffer import StepBuffer
from trainwell.train.build import Job, build_schedule, check_outputs
from trainwell.train.evaluate import Evaluation, evaluate, is_out_of_memory
from trainwell.train.events import Event, Events
from trainwell.train.hooks import by_place, reported
from trainwell.train.probing import Probing
from trainwell.train.progress import Progress
from trainwell.train.reporter import EpochReport, Reporter, StepReport
from trainwell.train.retaking import Retakes, take_step
from trainwell.train.scoring import Scoring, loop_measures
from trainwell.train.snapshot import Alarm, Good, infinite_buffers, is_finite, named_tensors, put_back, take

DRAIN_STEPS, DRAIN_SECONDS = 128, 1.0
SNAPSHOT_STEPS, SNAPSHOT_SECONDS = 512, 10.0


class _Rewind(Exception):
    """Go back to the last good state and run on from there."""


class Loop:
    """Runs the epochs of a job; `run` returns when the length is reached or the run shall stop."""

    def __init__(self, job: Job, progress: Progress, *, record: Record, events: Events, reporter: Reporter) -> None:
        self.job = job
        self.progress = progress
        self.record = record
        self.events = events
        self.reporter = reporter
        self.state = State(job.model, job.optimizer, autocast=job.autocast)
        self.best: dict[str, Tensor] = {}
        self.wants_stop: Callable[[], bool] = lambda: False
        self.on_pause: Callable[[bool], None] = lambda is_epoch_end: None
        self._infinite = infinite_buffers(job.model)
        self._buffer = StepBuffer(Scoring(job.task, job.loaders.train.targets))
        self._places = by_place(job.hooks)
        self._retakes = Retakes.of(job)
        self._update = partial(take_step, job.optimizer) if self._retakes is None else self._retakes.step
        self._chance = StepChance(job.recipe.seed, device=job.device)
        self._shares: dict[tuple[int, int], Tensor] = {}
        self._probing = Probing(job.probes, every=job.probe_every, events=events, reporter=reporter)
        self._watch = self._watching()
        self._clock = time.perf_counter()
        self._counted = self._begun = 0
        self._drained_at = self._clock
        self._rate = self._last_loss = 0.0
        of_probes = [measure for probe in job.probes for measure in probe.measures]
        driving.restore(job, progress)
        record.define([*loop_measures(job.task, job.loss_unit), *of_probes, *job.penalties.measures])
        self.good = self._keep_good()

    def run(self) -> None:
        """Train until the length is reached, early stopping says so, or somebody asks to stop.

        Raises:
            Alarm: NaN or Inf appeared; `good` holds the state to go back to.
            MemoryExhausted: not even two samples at a time fit.
        """
        while True:
            self.apply_events()  # an event at the very end may make the run longer
            if self.is_finished or self.wants_stop():
                return
            try:
                self._epoch()
            except _Rewind:
                self.go_back()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        done = self.progress
        return done.is_stopped_early or done.epoch >= done.epochs or done.step >= self.job.total_steps

    def _epoch(self) -> None:
        job, done = self.job, self.progress
        job.train()
        self._clock, self._counted, self._begun = time.perf_counter(), done.count, done.step
        start = done.step - done.begun
        for batch in job.loaders.train.epoch(done.epoch, start):
            if done.step >= job.total_steps:
                break
            self._step(batch)
            if self.wants_stop():
                break
        self.drain()
        at_end = done.step >= min(done.begun + job.steps_per_epoch, job.total_steps)
        if at_end:
            self._end_epoch()
        self.on_pause(at_end)

    def _step(self, batch: Batch) -> None:
        done = self.progress
        if done.step in self.events.steps:
            self.apply_events()
        try:
            self.advance(batch, is_probed=self._probing.is_due(done.step))
        except RuntimeError as error:
            self._retreat(error, len(batch))
        state = self.state
        assert state.batch is not None
        terms = self.job.penalties.taken() if self.job.penalties else None
        self._buffer.add(done.step, state.losses, state.logits, state.batch, penalties=terms)
        done.step += 1
        late = time.perf_counter() - self._drained_at > DRAIN_SECONDS
        if self._probing.has_readings or late or len(self._buffer) >= DRAIN_STEPS or self._buffer.is_large:
            self.drain()
            self._report_step()
            if self.events.take_requests(done.step):
                self.apply_events()
            self.on_pause(False)

    def advance(self, batch: Batch, *, is_probed: bool = False, lr_scale: float = 1.0) -> None:
        """Do one optimizer step on a batch; afterwards `state` shows what happened in it."""
        job, state, places = self.job, self.state, self._places
        state.step, state.epoch = self.progress.step, self.progress.epoch
        self._chance.reseed(state.step)
        for act in places["before_step"]:
            act(state)
        multiplier = job.schedule(state.step) * lr_scale
        for group in job.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        state.batch = job.train_pipeline(batch, state.epoch)
        for act in places["before_forward"]:
            act(state)
        self._forward_backward(state)
        for act in places["after_backward"]:
            act(state)
        if is_probed:
            self._probing.before_update(state)
        self._update(state)
        if is_probed:
            self._probing.after_update(state)
        for group in job.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # ten times quicker than zero_grad
        for act in places["after_step"]:
            act(state)

    def _forward_backward(self, state: State) -> None:
        """Fill `.grad` with the gradient of the batch's weighted mean loss and penalties, one piece after another."""
        job, batch, pieces = self.job, state.batch, self.progress.pieces
        assert batch is not None
        if self._retakes is not None:
            return self._retakes.begin(state, self._share, pieces, with_gradients=self._probing.is_due(state.step))
        state.losses, state.logits = [], []
        job.penalties.begin()
        for piece in (batch,) if pieces == 1 else batch.split(pieces):
            with job.autocast():
                logits = job.model(piece.inputs)
            if state.step == 0:
                check_outputs(logits, piece, len(job.classes), job.task)
            scores, share = logits.float(), self._share(piece, batch)
            losses = job.criterion(scores, piece.targets)
            penalized = job.penalties.on_scores(losses, scores, share) if job.penalties else losses
            penalized.backward(share)
            state.losses.append(losses.detach())
            state.logits.append(logits.detach())
        return job.penalties.on_weights()

    def _share(self, piece: Batch, batch: Batch) -> Tensor:
        """What each loss of a piece weighs in the mean over the batch, (n,); seeds the backward pass."""
        if piece.weight is not None and batch.weight is not None:
            return piece.weight / batch.weight.sum()
        sizes = len(piece), len(batch)
        share = self._shares.get(sizes)
        if share is None:
            share = self._shares[sizes] = torch.full(sizes[:1], 1.0 / sizes[1], device=self.job.device)
        return share

    def drain(self) -> None:
        """Bring the buffered losses over, guard them and write them down.

        Raises:
            Alarm: a loss is not finite, or, where a snapshot is due, a weight.
        """
        done = self.progress
        if len(self._buffer):
            drained = self._buffer.drain()
            bad = drained.first_bad
            if bad is not None:
                raise Alarm(bad)
            done.take(drained)
            self._last_loss = drained.losses[-1]
            self.record.append_series("train/loss", drained.first_step, drained.losses)
            for name, terms in zip(self.job.penalties.names, drained.penalties, strict=True):
                places = enumerate(terms, drained.first_step)
                self.record.append(Reading(step, f"penalty/{name}", term) for step, term in places)
        self.record.append(self._probing.take())
        self._drained_at = time.perf_counter()
        late = self._drained_at - self._kept_at > SNAPSHOT_SECONDS
        if late or done.step - self.good.snapshot.step >= SNAPSHOT_STEPS:
            self.guard()

    def guard(self) -> None:
        """Check that every weight is finite, and keep this state as the last good one.

        Raises:
            Alarm: a weight is not finite.
        """
        if not self.is_finite():
            raise Alarm(self.progress.step)
        self.good = self._keep_good()

    def is_finite(self) -> bool:
        """Whether the weights are finite, and the buffers that were so at the start."""
        return is_finite(self.job.model, self._infinite)

    def _keep_good(self) -> Good:
        job = self.job
        snapshot = take(self.progress.step, job.model, job.optimizer, job.hooks)
        self._kept_at = time.perf_counter()
        return Good(snapshot, self.progress.copy(), job.total_steps, self.record.length)

    def go_back(self) -> None:
        """Return to the last good state: weights, optimizer, hooks, counters and record."""
        job, good = self.job, self.good
        put_back(good.snapshot, job.model, job.optimizer, job.hooks)
        self.progress = good.progress.copy()
        self._set_length(good.total_steps)
        self._watch = self._watching()
        self.record.cut(good.record_length)
        self._buffer.clear()
        self._probing.take()

    def _retreat(self, error: RuntimeError, size: int) -> None:
        """Cut batches into twice as many pieces where memory ran out, from this step on."""
        if not is_out_of_memory(error):
            raise error
        pieces = self.progress.pieces * 2
        if pieces > max(size // 2, 1):
            raise MemoryExhausted(
                f"step {self.progress.step}: not even two samples at a time fit into the memory of {self.job.device}:"
                " choose a smaller --model or --image-size"
            ) from error
        if self.job.device.type == "cuda":
            torch.cuda.empty_cache()
        self.events.add(Event(self.progress.step, "retreat", {"pieces": pieces}))
        self.reporter.say(
            f"memory ran out at step {self.progress.step}: batches are now computed in {pieces} pieces"
            " (the same gradient, less memory; batch norm sees the pieces)"
        )
        raise _Rewind

    def apply_events(self) -> None:
        """Apply what was done to the run before this step."""
        job, done = self.job, self.progress
        for event in self.events.at(done.step):
            if event.kind == "retreat":
                done.pieces = int(event.values["pieces"])
            elif event.kind == "extend":
                done.epochs = int(event.values["epochs"])
                done.is_stopped_early = False
                if done.watch:
                    done.watch["waited"] = 0
                    self._watch = self._watching()
                self._set_length(done.begun + (done.epochs - done.epoch) * job.steps_per_epoch)
            elif event.kind == "set":
                self._set(event.values)

    def _set_length(self, total_steps: int) -> None:
        """Make the run so many steps long, and stretch its schedule to them."""
        job = self.job
        if job.total_steps != total_steps:
            job.total_steps = total_steps
            job.schedule = build_schedule(job.recipe, total_steps, job.steps_per_epoch)
        driving.restore(job, self.progress)

    def _set(self, values: Mapping[str, float]) -> None:
        """Set values of the optimizer; groups that are exempt from weight decay stay so."""
        for name, value in values.items():
            for group in self.job.optimizer.param_groups:
                if name != "weight_decay" or not group.get("is_exempt", False):
                    group["initial_lr" if name == "lr" else name] = (
                        value * group.get("lr_factor", 1.0) if name == "lr" else value
                    )

    def _end_epoch(self) -> None:
        job, done = self.job, self.progress
        if not self.is_finite():
            raise Alarm(done.step)
        self._rate = (done.count - self._counted) / (time.perf_counter() - self._clock)
        for act in self._places["after_epoch"]:
            act(self.state)
        loss, score, key = done.loss / done.weight, done.hits / done.count, job.task.score.key
        readings = {"epoch/loss": loss, f"epoch/train_{key}": score, "lr": self.state.lr}
        val = self.evaluate(job.loaders.val) if job.loaders.val is not None else None
        if val is not None:
            readings |= {"val/loss": val.loss, f"val/{key}": val.score}
        self.record.append(Reading(done.step, name, value) for name, value in readings.items())
        if val is not None and job.recipe.regularization.patience is not None:
            self._watch_val(val)
        told = loss, None if val is None else val.loss
        driving.tell(job, done, *told, events=self.events, reporter=self.reporter)
        seconds = time.perf_counter() - self._clock
        done.seconds += seconds
        done.end_epoch()
        self.reporter.epoch(
            EpochReport(
                epoch=done.epoch,
                epochs=done.epochs,
                loss=loss,
                train_score=score,
                val_loss=None if val is None else val.loss,
                val_score=None if val is None else val.score,
                lr=self.state.lr,
                images_per_second=self._rate,
                seconds=seconds,
                score=job.task.score,
            )
        )
        self.good = self._keep_good()

    def _watching(self) -> EarlyStopping:
        """Return early stopping as far as the counters say it is."""
        watch = EarlyStopping(patience=self.job.recipe.regularization.patience or 1)
        if self.progress.watch:
            watch.load_state(self.progress.watch)
        return watch

    def _watch_val(self, val: Evaluation) -> None:
        """Keep the best weights, and stop when val has not improved for too long."""
        done = self.progress
        is_best = self._watch.update(val.loss)
        done.watch = self._watch.state()
        if is_best:
            self.best = {name: tensor.clone() for name, tensor in named_tensors(self.reported_model).items()}
        if self._watch.is_exhausted:
            done.is_stopped_early = True
            self.reporter.say(
                f"val/loss has not improved for {self._watch.patience} epochs: stopped, best weights restored"
            )

    def evaluate(self, loader: Loader) -> Evaluation:
        """Evaluate the weights that this run would report now, in the precision of the run."""
        job = self.job
        return evaluate(
            self.reported_model, loader, job.evaluation_pipeline, job.criterion, job.autocast, task=job.task
        )

    @property
    def reported_model(self) -> nn.Module:
        """The network that is evaluated: the averaged one where the recipe asks for it."""
        return reported(self.job.hooks, self.job.model)

    def timing(self) -> dict[str, float]:
        """Return what the clock says of the epoch just finished."""
        done = self.progress
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "epoch": done.epoch,
            "step": done.step,
            "seconds": round(done.seconds, 3),
            "images_per_second": round(self._rate, 1),
            "peak_memory_mib": round(memory, 1),
        }

    def _report_step(self) -> None:
        job, done = self.job, self.progress
        seconds = time.perf_counter() - self._clock
        rate = (done.count - self._counted) / seconds
        left = (job.total_steps - done.step) * seconds / max(done.step - self._begun, 1)
        self.reporter.step(
            StepReport(
                epoch=done.epoch + 1,
                epochs=done.epochs,
                step=done.step,
                total_steps=job.total_steps,
                loss=self._last_loss,
                train_score=done.hits / max(done.count, 1),
                images_per_second=rate,
                seconds_left=left,
                score=job.task.score,
            )
        )
