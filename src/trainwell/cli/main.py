"""Run the command line: every error is one paragraph and an exit code.

Nothing here imports torch until a verb needs it, so that `trainwell --help` answers at once.
"""

import os
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import NoReturn

import typer

from trainwell.cli import anatomy, finding, graph, lab, landscape, shelves, training, using
from trainwell.cli.words import print_json
from trainwell.errors import TrainwellError

app = typer.Typer(
    name="trainwell",
    help="Train vision networks well, and see why when they do not.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
VERBS: dict[str, Callable[..., None]] = {
    "fit": training.fit,
    "resume": training.resume,
    "set": training.set_values,
    "predict": using.predict,
    "evaluate": using.evaluate,
    "report": using.report,
    "lr-find": finding.lr_find,
    "lab": lab.lab,
    "landscape": landscape.landscape,
    "graph": graph.graph,
    "anatomy": anatomy.anatomy,
    "list": shelves.list_members,
    "show": shelves.show,
    "env": shelves.env,
}
for name, verb in VERBS.items():
    app.command(name)(verb)

PYDANTIC_WORDS = {
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid number, unable to parse string as a number": "a number",
}


def _fail(words: str, code: int) -> NoReturn:
    paragraph = re.sub(r"\s*\n\s*", " ", words.strip())
    print(f"error: {paragraph}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        print_json({"error": paragraph, "exit_code": code})
    sys.exit(code)


def _usage_words(error: typer.TyperException) -> str:
    """Say what is wrong with the words on the command line."""
    if hasattr(error, "possibilities"):
        near = [repr(name) for name in error.possibilities or []]
        hint = f"did you mean {' or '.join(near)}?" if near else "the options are in `--help`"
        return f"there is no option {getattr(error, 'option_name', '')!r}: {hint}"
    words = error.format_message().replace("Input should be", "it must be")
    for theirs, ours in PYDANTIC_WORDS.items():
        words = words.replace(theirs, ours)
    names = getattr(getattr(error, "param", None), "opts", [])
    received = [after for word, after in pairwise(sys.argv) if word in names]
    words += f", got {received[-1]!r}" if received and "it must be" in words else ""
    return (words[:1].lower() + words[1:]).rstrip(".")


def main() -> None:
    """Run the command line; every error is one paragraph and an exit code."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="trainwell", standalone_mode=False)
        print(end="", flush=True)
    except typer.TyperException as error:
        _fail(_usage_words(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped", 3)
    except BrokenPipeError:  # whoever read our output has left, as `head` does; nothing can be said any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(3)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if isinstance(error, TrainwellError):
            _fail(str(error), error.exit_code)
        _fail(f"this should not have happened ({type(error).__name__}: {error}): run it with --debug to see where", 3)
    sys.exit(code if isinstance(code, int) else 0)
