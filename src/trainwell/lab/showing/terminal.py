"""Shows the lab on the terminal: a live line while it measures, and a table for each experiment when it is judged."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table as Grid
from rich.text import Text

from trainwell.lab.measuring import Pair
from trainwell.lab.result import NOT_SHOWN, SHOWN, Result
from trainwell.lab.runner import Watcher
from trainwell.report.numbers import duration

LOG_WIDTH = 150  # columns, where the output goes to no terminal
STYLES = {SHOWN: "green", NOT_SHOWN: "bold red"}


class Lines:
    """Prints what should stay: one table an experiment, and remarks."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def pair(self, pair: Pair, done: int, total: int) -> None:
        """Print nothing: a log has tables for experiments."""

    def say(self, text: str) -> None:
        """Print the sentence."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def result(self, result: Result) -> None:
        """Print the verdict and the checks of an experiment."""
        self.console.print(_table(result), highlight=False)


class Live(Lines):
    """The same below a line that says how far the lab is."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.progress = Progress(
            TextColumn("measuring"),
            BarColumn(bar_width=16),
            TextColumn("{task.completed} of {task.total}"),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self.progress.add_task("", total=None, visible=False)

    def pair(self, pair: Pair, done: int, total: int) -> None:
        """Move the live line."""
        self.progress.start()
        self.progress.update(self._task, completed=done, total=total, description=str(pair), visible=done < total)


@contextmanager
def watching() -> Iterator[Watcher]:
    """Lend the watcher that fits where the output goes; however the block ends, no live line stays behind."""
    if not sys.stdout.isatty():
        yield Lines(Console(width=LOG_WIDTH))
        return
    live = Live(Console())
    try:
        yield live
    finally:
        live.progress.stop()


def _table(result: Result) -> Group:
    """Return the lines about one experiment: name and verdict, question, and a line for each check."""
    head = Text(result.name, style="bold")
    claims = ", ".join(map(str, result.claims))
    head.append(f"  claim {claims}" if claims else "", style="not bold")
    head.append(f"  {result.words}", style=STYLES.get(result.verdict, "yellow"))
    form = "quick form, " if result.is_quick else ""
    read = f", {result.cached} of them read" if result.cached else ""
    count = result.measured + result.cached
    work = f"{form}{count} measurements{read}, {duration(result.seconds)} of work" if count else form.rstrip(", ")
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name, most in (("claim", 56), ("printed", 30), ("measured", 34), ("within", 40), ("verdict", 9)):
        grid.add_column(name, max_width=most, overflow="fold", no_wrap=name == "verdict")
    for check in result.checks:
        verdict = SHOWN if check.holds else NOT_SHOWN
        cells = (check.claim, str(check.printed), str(check.measured), check.tolerance)
        grid.add_row(*map(Text, cells), Text(verdict, style=STYLES[verdict]))
    parts = [head, Text(f"{result.question}{f' ({work})' if work else ''}")]
    return Group(*parts, Padding(grid, (0, 0, 0, 2)) if result.checks else "")
