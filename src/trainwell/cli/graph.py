"""The verb that shows a computational graph: graph."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trainwell.cli.words import Debug, Json, assignments, print_json


def graph(
    expression: Annotated[
        Optional[str],
        typer.Argument(
            metavar="[EXPRESSION]", help='Such as "(x + y) * z" or "q = x + y; q * z"; -- before a leading -.'
        ),
    ] = None,
    values: Annotated[
        Optional[list[str]], typer.Argument(metavar="[NAME=VALUE…]", help="The inputs: x=-2 y=5 z=-4.")
    ] = None,
    nudge: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME=H", help="Move a node by H: what f + f'·H predicts, and the truth; may be repeated."
        ),
    ] = None,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="CHOICE", help="The graph of a network instead: mlp:hidden=[4], my_net.py:Net."),
    ] = None,
    shape: Annotated[str, typer.Option("--input", metavar="SHAPE", help="Of one sample: 3, or 3x32x32.")] = "3",
    classes: Annotated[int, typer.Option(metavar="K", help="How many the network tells apart.", min=1)] = 2,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the network's gradients with central differences, 20 entries each.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the network's weights and its batch of two.", min=0)] = 0,
    html: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Draw it as a page that needs no network.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the graph of an expression or a network: values forward, gradients backward.

    A network runs on two random samples, of the classes 0 and 1, and its loss is the cross-entropy.
    """
    from trainwell.errors import OptionInvalid

    if (expression is None) == (model is None):
        raise OptionInvalid('give either an expression, such as "(x + y) * z" x=-2 y=5 z=-4, or --model')
    if model is None:
        if check:
            raise OptionInvalid("--check is for networks: give --model, or leave it out")
        shown, plain = _of_expression(str(expression), assignments(values or []), assignments(nudge or []))
    else:
        if nudge or values:
            raise OptionInvalid("values and --nudge are for expressions: leave them out beside --model")
        shown, plain = _of_network(model, shape, classes, seed=seed, check=check)
    if html is not None:
        _draw(shown, html)
        plain["html"] = str(html)
    if as_json:
        print_json(plain)
    if plain.get("check", {}).get("grade") in ("wrong", "doubtful"):
        raise typer.Exit(1)


def _of_expression(expression: str, values: dict[str, Any], nudges: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from trainwell.graph.expression import expression_graph
    from trainwell.graph.scalar import finite

    shown = expression_graph(expression, values)
    moved = [shown.nudge(name, finite(step, f"the nudge of {name}")) for name, step in nudges.items()]
    print(shown, *moved, sep="\n")
    return shown, {**shown.to_plain(), "nudges": [vars(one) for one in moved]}


def _of_network(choice: str, shape: str, classes: int, *, seed: int, check: bool) -> tuple[Any, dict[str, Any]]:
    import tempfile

    import torch

    from trainwell.core.chance import derive
    from trainwell.core.choice import Choice
    from trainwell.core.own_code import settle_files
    from trainwell.graph.checking import check_gradients
    from trainwell.graph.network import network_graph
    from trainwell.models.building import build_network

    parsed, sizes = Choice.parse(choice), _sizes(shape)
    own = {parsed.name.rpartition(":")[0]: ""} if parsed.is_own else {}
    with tempfile.TemporaryDirectory() as folder:
        files = settle_files(own, Path(folder) / "files", networks=list(own))
        network = build_network(parsed, sizes, classes, seed=seed, files=files)
    inputs = torch.randn(2, *sizes, generator=torch.Generator().manual_seed(derive(seed, "graph")))
    targets = torch.arange(2) % classes
    loss = torch.nn.CrossEntropyLoss()
    shown = network_graph(network, inputs, loss=lambda scores: loss(scores, targets))
    print(shown)
    plain = shown.to_plain()
    if check:
        found = check_gradients(network, inputs, targets, loss, entries=20)
        print(f"\n{found}")
        plain["check"] = found.to_plain()
    return shown, plain


def _sizes(shape: str) -> tuple[int, ...]:
    from trainwell.errors import OptionInvalid

    parts = shape.replace(",", "x").split("x")
    if not all(part.strip().isdigit() and int(part) for part in parts):
        raise OptionInvalid(f"--input is a shape such as 3 or 3x32x32, got {shape!r}")
    return tuple(int(part) for part in parts)


def _draw(shown: Any, path: Path) -> None:
    """Write a picture of a graph as a page that needs no network."""
    from trainwell.errors import OptionInvalid
    from trainwell.pictures.graph import computation

    sketch = shown.sketch()
    figure = computation(sketch).update_layout(paper_bgcolor="#ffffff")
    try:
        figure.write_html(path, include_plotlyjs=True, config={"displayModeBar": False})
    except OSError as error:
        raise OptionInvalid(f"{path} cannot be written ({error.strerror}): choose another place for --html") from error
    for note in sketch.notes:
        if note not in str(shown):
            print(f"note: {note}")
    print(f"the picture is {path}: open it in any browser; it needs no network")
