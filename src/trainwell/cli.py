"""The command line: thin verbs, each calls one function of the library and prints what it returns.

Nothing here imports torch until a verb needs it, so that `trainwell --help` answers at once.
"""

import inspect
import json
import os
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from trainwell.errors import OptionInvalid, TrainwellError

app = typer.Typer(
    name="trainwell",
    help="Train vision networks well, and see why when they do not.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

PYDANTIC_WORDS = {
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid number, unable to parse string as a number": "a number",
}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.command()
def fit(
    source: Annotated[
        Optional[str],
        typer.Argument(metavar="SOURCE", help="A folder, a file, or a built-in set; else the recipe's, or digits."),
    ] = None,
    model: Annotated[
        Optional[str], typer.Option(metavar="CHOICE", help="Or my_net.py:Net, a network of your own.")
    ] = None,
    optimizer: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as sgd:lr=0.1.")] = None,
    schedule: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cosine:warmup=1.")] = None,
    loss: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cross_entropy:smoothing=0.1.")] = None,
    preprocessing: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as zca.")] = None,
    augment: Annotated[
        Optional[list[str]],
        typer.Option("--augmentation", "--augment", metavar="CHOICE", help="Such as shift:pixels=2; may be repeated."),
    ] = None,
    epochs: Annotated[Optional[int], typer.Option(metavar="N", help="Passes over the training split.")] = None,
    minutes: Annotated[
        Optional[float], typer.Option(metavar="N", help="Time allowed; the epochs follow from it.")
    ] = None,
    batch_size: Annotated[Optional[int], typer.Option(metavar="N", help="Samples in an optimizer step.")] = None,
    image_size: Annotated[Optional[str], typer.Option(metavar="N", help="Side in pixels, or keep.")] = None,
    seed: Annotated[Optional[int], typer.Option(metavar="N", help="Of all randomness.")] = None,
    device: Annotated[Optional[str], typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, …")] = None,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits on CUDA too.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave files that cannot be used out; data.json names them.")
    ] = False,
    values: Annotated[
        Optional[list[str]],
        typer.Option("--set", metavar="PATH=VALUE", help="Any field of the recipe, such as seed=1; may be repeated."),
    ] = None,
    recipe: Annotated[Optional[Path], typer.Option(metavar="PATH", help="Begin from a recipe file or a run.")] = None,
    with_files: Annotated[
        Optional[list[Path]],
        typer.Option("--with", metavar="FILE.py", help="Shelf members of your own; may be repeated."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(metavar="RUN", help="The run folder itself; else below runs/.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a classifier from a folder, a file or a built-in set.

    A CHOICE is written NAME:key=value,key=value; the names are in `trainwell list`. What is left open is
    chosen, and the reason is said.
    """
    from trainwell.surface import fit as train
    from trainwell.terminal import showing

    with showing() as reporter:
        run = train(
            source,
            out=out,
            recipe=recipe,
            reporter=reporter,
            set=_assignments(values or []),
            with_files=with_files or (),
            model=model,
            optimizer=optimizer,
            schedule=schedule,
            loss=loss,
            preprocessing=preprocessing,
            augmentation=augment,
            epochs=epochs,
            minutes=minutes,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            device=device,
            deterministic=deterministic or None,
            skip_bad=skip_bad or None,
        )
    _print_run(run, as_json)


@app.command()
def resume(
    run: RunPath,
    epochs: Annotated[Optional[int], typer.Option(metavar="N", help="Go on until N epochs are done.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run exactly where it stopped, or further."""
    from trainwell.surface import resume as go_on
    from trainwell.terminal import showing

    with showing() as reporter:
        finished = go_on(run, epochs=epochs, reporter=reporter)
    _print_run(finished, as_json)


@app.command("set")
def set_values(
    run: RunPath,
    values: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="Of lr, weight_decay, momentum: such as lr=0.01.")
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Change the optimizer of a run while it goes on; it is recorded."""
    from trainwell.surface import change

    assignments = _assignments(values)
    is_running = change(run, assignments)
    words = ", ".join(f"{name}={value}" for name, value in assignments.items())
    later = "as soon as it goes on (`trainwell resume`, with --epochs where it is finished)"
    when = "from its next look on" if is_running else later
    print(f"{run} trains with {words} {when}")
    if as_json:
        _print_json({"run": str(run), "set": assignments, "is_running": is_running})


@app.command("list")
def list_members(
    shelf: Annotated[Optional[str], typer.Argument(metavar="[SHELF]", help="Only this shelf, such as model.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the members of all shelves, or of one."""
    shelves = _shelves(shelf)
    if as_json:
        _print_json({kind: {card.name: card.summary for card in catalog} for kind, catalog in shelves.items()})
        return
    for kind, catalog in shelves.items():
        print(f"{kind}: {catalog.member}")
        width = max((len(card.name) for card in catalog), default=0)
        for card in catalog:
            print(f"  {card.name:<{width}}  {card.summary}")
        print()


@app.command()
def show(
    shelf: Annotated[str, typer.Argument(metavar="SHELF", help="A shelf, such as optimizer.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A member of it.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show one member: what it does, its options, its source."""
    ((kind, catalog),) = _shelves(shelf).items()
    card = catalog[name]
    if as_json:
        options = {option.name: _option_facts(option) for option in card.options.values()}
        about = {"shelf": kind, "name": card.name, "summary": card.summary, "source": card.source}
        _print_json({**about, "options": options})
        return
    text, meanings = _read_docstring(inspect.getdoc(card.builder) or card.name)
    print(text)
    if card.options:
        print(f"\nOptions, written {card.name}:key=value,key=value")
    for key, option in card.options.items():
        unit = f", {option.unit}" if option.unit else ""
        print(f"  {key} = {_default(option)}  ({option.allowed}{unit})")
        if key in meanings:
            print(textwrap.fill(meanings[key], 100, initial_indent="      ", subsequent_indent="      "))
    if card.source:
        print(f"\nSource: {card.source}")


@app.command()
def env(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, hardware, and what follows from them."""
    from trainwell.core.machine import choose_device, choose_threads, facts

    found = facts()
    choices = [choose_device("auto"), choose_threads(multiply_adds=float("inf"))]
    if as_json:
        _print_json({**found, "choices": {choice.field: choice.value for choice in choices}})
        return
    versions = found.pop("versions")
    lines = {name.replace("_gib", " (GiB)").replace("_", " "): _plain(value) for name, value in found.items()}
    width = max(map(len, [*versions, *lines]))
    for name, words in {**versions, **lines}.items():
        print(f"{name:<{width}}  {words}")
    for choice in choices:
        print(choice)


def _plain(value: Any) -> str:
    """Say a fact in a word: true and false as yes and no, a list as its members."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _option_facts(option: Any) -> dict[str, Any]:
    default = None if option.is_required else option.default
    return {"allowed": option.allowed, "unit": option.unit, "default": default, "is_required": option.is_required}


def _default(option: Any) -> str:
    """Say a default as one would write it on the command line."""
    if option.is_required:
        return "(needed)"
    plain = list(option.default) if isinstance(option.default, tuple) else option.default
    return plain if isinstance(plain, str) else "none" if plain is None else json.dumps(plain)


def _read_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says to a user of a member, and the meaning of each argument.

    >>> _read_docstring("Halves.\\n\\nArgs:\\n    by: how\\n        often.\\n\\n>>> 1\\n1\\n\\nIt costs nothing.")
    ('Halves.\\n\\nIt costs nothing.', {'by': 'how often.'})
    """
    kept, meanings = [], {}
    for paragraph in doc.split("\n\n"):
        if paragraph.startswith("Args:"):
            for entry in re.split(r"\n {4}(?=\S)", paragraph)[1:]:
                name, _, meaning = entry.partition(": ")
                meanings[name.strip()] = " ".join(meaning.split())
        elif not paragraph.startswith(("Returns:", "Raises:", ">>>")):
            kept.append(paragraph)
    return "\n\n".join(kept).rstrip(), meanings


def _assignments(texts: list[str]) -> dict[str, Any]:
    from trainwell.core.choice import read_value

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise OptionInvalid(f"a value is set as name=value, got {text!r}")
        values[name.strip()] = read_value(value)
    return values


def _shelves(kind: str | None) -> dict[str, Any]:
    from trainwell.core.shelves import SHELVES
    from trainwell.errors import NameUnknown, did_you_mean

    if kind is None:
        return dict(SHELVES)
    found = next((k for k in (kind, kind.removesuffix("s"), kind.removesuffix("es")) if k in SHELVES), None)
    if found is None:
        raise NameUnknown(f"no shelf is called {kind!r}{did_you_mean(kind, SHELVES)}")
    return {found: SHELVES[found]}


def _print_run(run: Any, as_json: bool) -> None:
    for name, found in (("val", run.val), ("test", run.test)):
        if found is not None:
            sure = found.interval
            print(
                f"{name} accuracy {found.accuracy:.2%} (95 % interval {sure.low:.2%} to {sure.high:.2%},"
                f" {found.count} samples), loss {found.loss:.4f}"
            )
    print(f"{run.seconds:.1f} s; the run is in {run.path}")
    if as_json:
        _print_json(
            {
                "run": str(run.path),
                "val_accuracy": run.val_accuracy,
                "test_accuracy": run.test_accuracy,
                "seconds": round(run.seconds, 3),
                "epochs": run.epochs,
                "recipe": run.recipe.id,
            }
        )


def _print_json(plain: dict[str, Any]) -> None:
    print(json.dumps(plain, default=str), flush=True)


def _fail(words: str, code: int) -> NoReturn:
    paragraph = re.sub(r"\s*\n\s*", " ", words.strip())
    print(f"error: {paragraph}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        _print_json({"error": paragraph, "exit_code": code})
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
