"""The verb that lets optimizers walk on functions of two coordinates: landscape."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from trainwell.cli.words import Debug, Json, print_json


def landscape(
    name: Annotated[str, typer.Argument(metavar="[list|NAME]", help="Such as ill_conditioned_bowl:steep=20.")] = "list",
    optimizer: Annotated[
        Optional[list[str]],
        typer.Option(metavar="CHOICE", help="Such as momentum:lr=0.1; may be repeated; else every one of the shelf."),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Iterations.")] = 20,
    batch: Annotated[
        Optional[int],
        typer.Option(metavar="M", help="Walk by noisy mini-batches of M samples too, not by the exact gradient alone."),
    ] = None,
    sub_steps: Annotated[Optional[int], typer.Option(metavar="K", help="Mini-batches an iteration; else 10.")] = None,
    noise: Annotated[
        Optional[float],
        typer.Option(metavar="S", help="Deviation of one sample's gradient; a mini-batch has S / sqrt(M)."),
    ] = None,
    start: Annotated[Optional[str], typer.Option(metavar="X,Y", help="Instead of the landscape's own.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the noise.", min=0)] = 0,
    out: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Draw it as a page that needs no network.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let optimizers walk on a function of two coordinates, or list these functions.

    An optimizer that is given no lr takes the landscape's, and half of it for mini-batches; no weight decay either.
    """
    from trainwell.errors import OptionInvalid
    from trainwell.lab.landscapes.walking import table, walk_all

    if sub_steps is not None and batch is None:
        raise OptionInvalid("--sub-steps are mini-batches: give their size too, --batch M, or leave it out")
    if name == "list":
        _list(as_json)
        return
    walked = walk_all(
        name,
        optimizer or [],
        steps=steps,
        sub_steps=10 if sub_steps is None else sub_steps,
        batch=batch,
        noise=noise,
        start=None if start is None else _point(start),
        seed=seed,
    )
    print(f"{walked.ground.name}: {walked.ground.lesson}\n")
    rows = table(walked)
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    for left, why in walked.left_out.items():
        print(f"left out: {left}: {why}")
    if out is not None:
        walked.write(out)
        print(f"the picture is {out}: open it in any browser; it needs no network")
    if as_json:
        print_json({**walked.to_plain(), "out": None if out is None else str(out)})


def _point(text: str) -> tuple[float, float]:
    from trainwell.errors import OptionInvalid

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionInvalid(f"--start is two numbers such as -2.5,1, got {text!r}") from None
    return x, y


def _list(as_json: bool) -> None:
    from trainwell.lab.landscapes.landscape import landscape as built
    from trainwell.lab.landscapes.landscape import landscapes

    if as_json:
        print_json({card.name: built(card.name).to_plain() for card in landscapes})
        return
    width = max(len(card.name) for card in landscapes)
    for card in landscapes:
        options = f" ({', '.join(f'{key}={option.default:g}' for key, option in card.options.items())})"
        print(f"{card.name:<{width}}  {card.summary}{options if card.options else ''}")
