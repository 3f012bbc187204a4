"""How `trainwell show RUN` prints where a run stands, once or again and again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainwell.cli.words import print_json

if TYPE_CHECKING:
    from trainwell.report.state import RunState


def show_run(run: Path, *, watch: bool, as_json: bool) -> None:
    """Print where a run stands; with `watch`, show it anew until nobody works on the run any more."""
    from trainwell.report.state import follow, read_state

    if watch and sys.stdout.isatty():
        state = _watch(run)
    else:
        *_, state = follow(run) if watch else [read_state(run)]
        for line in state.lines():
            print(line)
    if as_json:
        print_json(state.to_plain())


def _watch(run: Path) -> "RunState":
    """Show every state in place of the one before it, as far as it fits on the screen; the last one stays whole."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from trainwell.report.state import follow

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for state in follow(run):
            live.update(Text("\n".join(state.lines(most=console.height - 1)), no_wrap=True), refresh=True)
    for line in state.lines():
        print(line)
    return state
