"""Shows a run on the terminal: a live line where there is one, plain lines everywhere else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from trainwell.train.reporter import EpochReport, Reporter, StartReport, StepReport, named
from trainwell.words import opening

SHOWN_EPOCHS = 10
SAID_FROM = 1_000  # parts; a preparation of fewer is over before a line about it could be read


class PlainReporter:
    """One line for each sentence and for some epochs, for logs and pipes."""

    def start(self, report: StartReport) -> None:
        """Print what was found and decided."""
        for line in opening(report):
            _print(line)

    def say(self, text: str) -> None:
        """Print the sentence."""
        _print(text)

    def step(self, report: StepReport) -> None:
        """Print nothing: a log has lines for epochs."""

    def epoch(self, report: EpochReport) -> None:
        """Print the line of an epoch that is shown."""
        if is_shown(report):
            _print(str(report))

    def work(self, what: str, done: int, total: int) -> None:
        """Print when a preparation of many parts has ended."""
        if done == total >= SAID_FROM:
            _print(f"{what}: {total:,} done")


def _print(text: str) -> None:
    """Print a line; a reader that went away, as `head` does, ends the listening and not the training."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LiveReporter:
    """A progress line with loss, score, images per second and time left, and a line for each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._score = ""

    def start(self, report: StartReport) -> None:
        """Print what was found and decided."""
        for line in opening(report):
            self.say(line)

    def say(self, text: str) -> None:
        """Print the sentence above the live line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, report: StepReport) -> None:
        """Move the live line."""
        score = self._score or f"train {report.train_score:.3f}, "
        words = (
            f"loss {report.loss:.3f}, {named(report.score)}{score}{report.images_per_second:,.0f} images/s,"
            f" {clock(report.seconds_left)} left"
        )
        self._show(f"epoch {report.epoch}/{report.epochs}", report.step, report.total_steps, words, key="train")

    def epoch(self, report: EpochReport) -> None:
        """Print the line of an epoch that is shown above the live line, which shows its score from then on."""
        if is_shown(report):
            self.say(f"{report}, {report.images_per_second:,.0f} images/s")
        is_validated = report.val_score is not None
        self._score = f"val {report.val_score:.3f}, " if is_validated else f"train {report.train_score:.3f}, "
        if report.epoch == report.epochs:
            self.close()

    def work(self, what: str, done: int, total: int) -> None:
        """Move the line of a preparation."""
        self._show(what, done, total, f"{done:,} of {total:,}", key=what)
        if done == total:
            self.close()

    def close(self) -> None:
        """Take the live line away and give the cursor back; the next step or preparation shows it again."""
        self._progress.stop()
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()

    def _show(self, what: str, done: int, total: int, words: str, *, key: str) -> None:
        if key not in self._tasks:
            self._progress.start()
            self._tasks[key] = self._progress.add_task(what, total=total, words=words)
        self._progress.update(self._tasks[key], completed=done, total=total, description=what, words=words)


def is_shown(report: EpochReport) -> bool:
    """Whether an epoch gets a line of its own: the first, the last and about ten between; the record holds all."""
    every = -(-report.epochs // SHOWN_EPOCHS)
    return report.epoch in (1, report.epochs) or report.epoch % every == 0


def clock(seconds: float) -> str:
    """Say a time as a clock does.

    >>> clock(7), clock(83.4), clock(3 * 3600 + 62)
    ('0:07', '1:23', '3:01:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def terminal_reporter() -> Reporter:
    """Return the reporter that fits where the output goes."""
    return LiveReporter(Console()) if sys.stdout.isatty() else PlainReporter()


@contextmanager
def showing(reporter: Reporter | None = None) -> Iterator[Reporter]:
    """Lend a reporter, the one given or the terminal's; however the block ends, no live line stays behind."""
    lent = reporter or terminal_reporter()
    try:
        yield lent
    finally:
        if isinstance(lent, LiveReporter):
            lent.close()
