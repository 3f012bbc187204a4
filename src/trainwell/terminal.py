"""Shows a run on the terminal: a live line where there is one, plain lines everywhere else."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainwell.train.reporter import EpochReport, Reporter, StepReport


class PlainReporter:
    """One line for each epoch and sentence, for logs and pipes."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print the sentence."""
        print(text, flush=True)

    def step(self, report: StepReport) -> None:
        """Print nothing: a log has one line an epoch."""

    def epoch(self, report: EpochReport) -> None:
        """Print the epoch's line."""
        print(report, flush=True)

    def work(self, what: str, done: int, total: int) -> None:
        """Print when a preparation of many parts begins and ends."""
        if total >= 1000 and done == total:
            print(f"{what}: {total}", flush=True)


class LiveReporter:
    """A progress line with loss, images per second and time left, and a line for each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        """Print the sentence above the live line."""
        self._console.print(text, highlight=False)

    def step(self, report: StepReport) -> None:
        """Move the live line."""
        left = report.seconds_left
        words = (
            f"loss {report.loss:.3f}, {report.images_per_second:,.0f} images/s,"
            f" {int(left // 60)}:{int(left % 60):02d} left"
        )
        self._show(f"epoch {report.epoch}/{report.epochs}", report.step, report.total_steps, words, key="train")

    def epoch(self, report: EpochReport) -> None:
        """Print the epoch's line above the live line."""
        self._console.print(f"{report}, {report.images_per_second:,.0f} images/s", highlight=False)
        if report.epoch == report.epochs:
            self._end()

    def work(self, what: str, done: int, total: int) -> None:
        """Move the line of a preparation."""
        self._show(what, done, total, f"{done}/{total}", key=what)
        if done == total:
            self._end()

    def _show(self, what: str, done: int, total: int, words: str, *, key: str) -> None:
        if key not in self._tasks:
            self._progress.start()
            self._tasks[key] = self._progress.add_task(what, total=total, words=words)
        self._progress.update(self._tasks[key], completed=done, total=total, description=what, words=words)

    def _end(self) -> None:
        self._progress.stop()
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()


def terminal_reporter() -> Reporter:
    """Return the reporter that fits where the output goes."""
    return LiveReporter(Console()) if sys.stdout.isatty() else PlainReporter()
