"""The command line: thin verbs, each calls one function of the library and prints what it returns.

Nothing here imports torch until a verb needs it, so that `trainwell --help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from trainwell.errors import OptionInvalid, TrainwellError

app = typer.Typer(
    name="trainwell",
    help="Train vision networks well, and see why when they do not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.command()
def fit(
    source: Annotated[str, typer.Argument(help="A folder, a file, or a built-in set such as digits.")] = "digits",
    model: Annotated[Optional[str], typer.Option(help="NAME:key=value,… or my_net.py:Net.")] = None,
    optimizer: Annotated[Optional[str], typer.Option(help="NAME:key=value,… such as sgd:lr=0.1.")] = None,
    schedule: Annotated[Optional[str], typer.Option(help="NAME:key=value,… such as cosine:warmup=1.")] = None,
    augment: Annotated[Optional[list[str]], typer.Option(help="NAME:key=value,…; may be repeated.")] = None,
    epochs: Annotated[Optional[int], typer.Option(help="Passes over the training split.")] = None,
    minutes: Annotated[Optional[float], typer.Option(help="Time allowed; the epochs follow from it.")] = None,
    batch_size: Annotated[Optional[int], typer.Option(help="Samples in an optimizer step.")] = None,
    image_size: Annotated[Optional[str], typer.Option(help="Side in pixels, or keep.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Of all randomness.")] = None,
    device: Annotated[Optional[str], typer.Option(help="cpu, cuda, cuda:1, …")] = None,
    deterministic: Annotated[bool, typer.Option(help="The same bits on CUDA too.")] = False,
    skip_bad: Annotated[bool, typer.Option(help="Leave unreadable files out; data.json names them.")] = False,
    values: Annotated[Optional[list[str]], typer.Option("--set", metavar="PATH=VALUE", help="Any field.")] = None,
    recipe: Annotated[Optional[Path], typer.Option(help="Begin from a recipe file or a run.")] = None,
    with_files: Annotated[Optional[list[Path]], typer.Option("--with", help="Your own shelf members.")] = None,
    out: Annotated[Optional[Path], typer.Option(help="The run folder itself.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a classifier from a folder, a file or a built-in set."""
    from trainwell.surface import fit as train

    files = {f"{path}": "" for path in with_files or []}
    run = train(
        source,
        out=out,
        recipe=recipe,
        set={**({"files": files} if files else {}), **_assignments(values or [])},
        model=model,
        optimizer=optimizer,
        schedule=schedule,
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
    epochs: Annotated[Optional[int], typer.Option(help="Go on until so many epochs are done.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run exactly where it stopped, or further."""
    from trainwell.surface import resume as go_on

    _print_run(go_on(run, epochs=epochs), as_json)


@app.command("set")
def set_values(
    run: RunPath,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="lr=0.01, weight_decay=…, momentum=…")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Change the optimizer of a run while it goes on; recorded as an event at its step."""
    from trainwell.surface import change

    assignments = _assignments(values)
    is_running = change(run, assignments)
    words = ", ".join(f"{name}={value}" for name, value in assignments.items())
    when = "at the run's next look" if is_running else "when the run is resumed"
    print(f"{run}: {words} holds {when}")
    if as_json:
        _print_json({"run": str(run), "set": assignments, "is_running": is_running})


@app.command("list")
def list_members(
    shelf: Annotated[Optional[str], typer.Argument(help="Only this shelf, such as model.")] = None,
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
    shelf: Annotated[str, typer.Argument(help="A shelf, such as optimizer.")],
    name: Annotated[str, typer.Argument(help="A member of it.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show one member: what it is, its options with ranges and units, its source."""
    import inspect

    card = next(iter(_shelves(shelf).values()))[name]
    options = {
        option.name: {
            "allowed": option.allowed,
            "unit": option.unit,
            "default": None if option.is_required else option.default,
        }
        for option in card.options.values()
    }
    if as_json:
        _print_json({"name": card.name, "summary": card.summary, "source": card.source, "options": options})
        return
    print(inspect.getdoc(card.builder) or card.name)
    print(f"\nOptions, written {card.name}:key=value,key=value")
    for key, option in options.items():
        unit = f", {option['unit']}" if option["unit"] else ""
        print(f"  {key} = {option['default']}  ({option['allowed']}{unit})")
    if not options:
        print("  none")
    if card.source:
        print(f"\nSource: {card.source}")


@app.command()
def env(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, hardware and what follows from them."""
    from trainwell.core.machine import choose_device, choose_threads, facts

    found = facts()
    choices = [choose_device("auto"), choose_threads("auto")]
    if as_json:
        _print_json({**found, "choices": {choice.field: choice.value for choice in choices}})
        return
    for key, value in found.items():
        if isinstance(value, dict):
            print(f"{key}: " + ", ".join(f"{name} {version}" for name, version in value.items()))
        else:
            print(f"{key.replace('_', ' ')}: {', '.join(value) or 'none' if isinstance(value, list) else value}")
    for choice in choices:
        print(choice)


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
    kind = kind if kind in SHELVES else kind.removesuffix("s")
    if kind not in SHELVES:
        raise NameUnknown(f"no shelf is called {kind!r}{did_you_mean(kind, SHELVES)}")
    return {kind: SHELVES[kind]}


def _print_run(run: Any, as_json: bool) -> None:
    for name, found in (("val", run.val), ("test", run.test)):
        if found is not None:
            sure = found.interval
            print(
                f"{name} accuracy {found.accuracy:.2%} (95 % interval {sure.low:.2%} to {sure.high:.2%},"
                f" {found.count} samples), loss {found.loss:.4f}"
            )
    print(f"{run.seconds:.1f} s; everything is in {run.path}")
    if as_json:
        _print_json(
            {
                "run": str(run.path),
                "val_accuracy": run.val_accuracy,
                "test_accuracy": run.test_accuracy,
                "seconds": round(run.seconds, 3),
                "epochs": run.recipe.length.epochs,
                "recipe": run.recipe.id,
            }
        )


def _print_json(plain: dict[str, Any]) -> None:
    print(json.dumps(plain, default=str), flush=True)


def _fail(words: str, code: int) -> NoReturn:
    print(f"error: {words}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        _print_json({"error": words, "exit_code": code})
    sys.exit(code)


def main() -> None:
    """Run the command line; every error is one paragraph and an exit code."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), 2)
    except typer.Abort:
        _fail("stopped", 3)
    except TrainwellError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 3)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _fail(f"this should not have happened ({type(error).__name__}: {error}): run it with --debug to see where", 3)
    sys.exit(code if isinstance(code, int) else 0)
