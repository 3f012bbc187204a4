"""The verbs that show what there is: list, show, env."""

import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trainwell.cli.schedules import EPOCHS, STEPS_PER_EPOCH, Drawn, drawn, in_letters, write_page
from trainwell.cli.state import show_run
from trainwell.cli.words import Debug, Json, print_json
from trainwell.core.choice import Choice
from trainwell.errors import OptionInvalid


def list_members(
    shelf: Annotated[Optional[str], typer.Argument(metavar="[SHELF]", help="Only this shelf, such as model.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the members of all shelves, or of one."""
    shelves = _shelves(shelf)
    if as_json:
        print_json({kind: {card.name: card.summary for card in catalog} for kind, catalog in shelves.items()})
        return
    for kind, catalog in shelves.items():
        print(f"{kind}: {catalog.member}")
        width = max((len(card.name) for card in catalog), default=0)
        for card in catalog:
            print(f"  {card.name:<{width}}  {card.summary}")
        print()


def show(
    shelf: Annotated[str, typer.Argument(metavar="RUN | SHELF", help="A run folder, or a shelf such as optimizer.")],
    name: Annotated[Optional[str], typer.Argument(metavar="[NAME]", help="A member of the shelf.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show a run anew until it ends.")] = False,
    epochs: Annotated[
        Optional[int], typer.Option(metavar="N", min=1, help="Of the run a schedule is drawn for.")
    ] = None,
    steps_per_epoch: Annotated[Optional[int], typer.Option(metavar="N", min=1, help="Of that run.")] = None,
    out: Annotated[
        Optional[Path], typer.Option(metavar="FILE.html", help="Draw a schedule as a page that needs no network.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where a run stands, or what a member of a shelf does.

    Of a run, also while it goes on: its curves in brief and a table of its layers. Of a member: what it
    does, what is known about it, its options, its source. Of a schedule, which may be named with options,
    such as cosine:warmup=2: its curve too.
    """
    kind = None if name is None else next(iter(_shelves(shelf)))
    if kind != "schedule" and (epochs, steps_per_epoch, out) != (None, None, None):
        raise OptionInvalid("--epochs, --steps-per-epoch and --out are for `trainwell show schedule NAME`")
    if name is None:
        show_run(_run_path(shelf), watch=watch, as_json=as_json)
        return
    ((kind, catalog),) = _shelves(shelf).items()
    choice = Choice.parse(name) if kind == "schedule" else Choice(name=name)
    card = catalog[choice.name]
    run = {"epochs": epochs or EPOCHS, "steps_per_epoch": steps_per_epoch or STEPS_PER_EPOCH}
    curve = drawn(card, choice.options, str(choice), **run) if kind == "schedule" else None
    if as_json:
        if curve is not None and out is not None:
            write_page(curve, out)
        options = {option.name: _option_facts(option) for option in card.options.values()}
        about = {"shelf": kind, "name": card.name, "summary": card.summary, "source": card.source}
        more = {} if curve is None else {"curve": curve.to_plain(), "out": None if out is None else str(out)}
        print_json({**about, "traits": _traits(card), "options": options, **more})
        return
    text, meanings = _read_docstring(inspect.getdoc(card.builder) or card.name)
    print(text)
    traits = {key.replace("_", " "): _plain(value) for key, value in _traits(card).items()}
    if traits:
        print("".join(f"\n  {key:<{max(map(len, traits))}}  {words}" for key, words in traits.items()))
    if card.options:
        print(f"\nOptions, written {card.name}:key=value,key=value")
    for key, option in card.options.items():
        unit = f", {option.unit}" if option.unit else ""
        print(f"  {key} = {_default(option)}  ({option.allowed}{unit})")
        if key in meanings:
            print(textwrap.fill(meanings[key], 100, initial_indent="      ", subsequent_indent="      "))
    if card.source:
        print(f"\nSource: {card.source}")
    if curve is not None:
        _print_curve(curve, out)


def _print_curve(curve: Drawn, out: Path | None) -> None:
    print(f"\nMultiplier of lr of {curve.choice} in {curve.epochs} epochs of {curve.steps_per_epoch} steps")
    for line in (*in_letters(curve.values, curve.epochs), *curve.notes):
        print(line)
    if out is not None:
        write_page(curve, out)
        print(f"the picture is {out}: open it in any browser; it needs no network")


def env(as_json: Json = False, debug: Debug = False) -> None:
    """Show versions, hardware, and what follows from them."""
    from trainwell.core.machine import choose_device, choose_threads, facts

    found = facts()
    choices = [choose_device("auto"), choose_threads(multiply_adds=float("inf"))]
    if as_json:
        print_json({**found, "choices": {choice.field: choice.value for choice in choices}})
        return
    versions = found.pop("versions")
    lines = {name.replace("_gib", " (GiB)").replace("_", " "): _plain(value) for name, value in found.items()}
    width = max(map(len, [*versions, *lines]))
    for name, words in {**versions, **lines}.items():
        print(f"{name:<{width}}  {words}")
    for choice in choices:
        print(choice)


def _run_path(word: str) -> Path:
    """Return the path of a run; a shelf without a name is refused with its members."""
    from trainwell.core.shelves import SHELVES
    from trainwell.errors import NameUnknown, did_you_mean

    if Path(word).exists() or "/" in word:
        return Path(word)
    kind = word if word in SHELVES else word.removesuffix("s")
    if kind in SHELVES:
        names = [card.name for card in SHELVES[kind]]
        raise NameUnknown(f"`trainwell show {kind}` needs a NAME behind it{did_you_mean('', names)}")
    raise NameUnknown(f"{word!r} is neither a run folder nor a shelf{did_you_mean(word, SHELVES)}")


def _traits(card: Any) -> dict[str, Any]:
    """Return what a card declares about its member as plain data; a number that depends on options at the defaults."""
    traits: dict[str, Any] = {}
    for key, value in card.traits.items():
        if inspect.isfunction(value) and inspect.signature(value).return_annotation is float:
            value = value(**card.parse_options({}))
        if isinstance(value, bool | int | float | str):
            traits[key] = value
    return traits


def _plain(value: Any) -> str:
    """Say a fact in a word: true and false as yes and no, a list as its members, a fraction to four digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
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


def _shelves(kind: str | None) -> dict[str, Any]:
    from trainwell.core.shelves import SHELVES
    from trainwell.errors import NameUnknown, did_you_mean

    if kind is None:
        return dict(SHELVES)
    beginning = [shelf for shelf in SHELVES if shelf.startswith(kind)]  # `init`, as the option of `fit` is called
    whole = [k for k in (kind, kind.removesuffix("s"), kind.removesuffix("es")) if k in SHELVES]
    found = next(iter(whole), beginning[0] if len(beginning) == 1 else None)
    if found is None:
        raise NameUnknown(f"no shelf is called {kind!r}{did_you_mean(kind, SHELVES)}")
    return {found: SHELVES[found]}
