"""The verb that takes a network apart before any training: anatomy."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trainwell.cli.words import Debug, Json, print_json


def anatomy(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="resnet34, mlp:hidden=[64], or my_net.py:Net.")],
    shape: Annotated[
        str, typer.Option("--input", metavar="SHAPE", help="Of one sample: 3x224x224, or 64 for features.")
    ] = "3x224x224",
    classes: Annotated[int, typer.Option(metavar="K", help="How many the network tells apart.", min=1)] = 1000,
    count: Annotated[
        str,
        typer.Option(
            metavar="CONVENTION",
            help="macs: multiply-adds. folded: with a bias everywhere, batch norms folded in, pooling and softmax."
            " keras: parameters with running statistics.",
        ),
    ] = "macs",
    every_layer: Annotated[bool, typer.Option("--layers", help="Show every layer, not only the stages.")] = False,
    html: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Draw it as a page that needs no network.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what each layer of a network costs, keeps and sees, before any training.

    Shapes, parameters, operations, activations and memory for one sample, receptive fields, the share of each
    stage, and how long the paths through its residual units are. Nothing is computed but shapes.
    """
    from trainwell.models.anatomy import anatomy as anatomy_of
    from trainwell.models.anatomy.table import anatomy_table

    sizes = _sizes(shape)
    network = _network(model, sizes, classes)
    found = anatomy_of(network, sizes, count=count, title=model)
    print(anatomy_table(found, every_layer=every_layer))
    plain = found.to_plain()
    if html is not None:
        _write(found, html)
        plain["html"] = str(html)
    if as_json:
        print_json(plain)


def _sizes(shape: str) -> tuple[int, ...]:
    from trainwell.errors import OptionInvalid

    parts = shape.lower().replace(",", "x").split("x")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise OptionInvalid(f"--input is a shape of whole numbers >= 1 such as 3x224x224 or 64, got {shape!r}")
    return tuple(int(part) for part in parts)


def _network(choice: str, sizes: tuple[int, ...], classes: int) -> Any:
    """Build a network from the user's words: of the shelf without numbers, which spares the drawing of its weights."""
    import contextlib
    import tempfile

    from trainwell.core.choice import Choice
    from trainwell.core.own_code import settle_files
    from trainwell.core.shelves import models
    from trainwell.models.anatomy.stand_in import without_numbers
    from trainwell.models.building import build_network, model_facts

    parsed = Choice.parse(choice)
    if not parsed.is_own and parsed.name in models:
        with contextlib.suppress(Exception), without_numbers():  # what fails is built again, and says why in words
            return models.build(parsed.name, parsed.options, **model_facts(sizes, classes))
    own = {parsed.name.rpartition(":")[0]: ""} if parsed.is_own else {}
    with tempfile.TemporaryDirectory() as folder:
        files = settle_files(own, Path(folder) / "files", networks=list(own))
        return build_network(parsed, sizes, classes, seed=0, files=files)


def _write(found: Any, path: Path) -> None:
    """Write the page of an anatomy."""
    from trainwell.errors import OptionInvalid
    from trainwell.report.anatomy import anatomy_page

    try:
        path.write_text(anatomy_page(found), encoding="utf-8")
    except OSError as error:
        raise OptionInvalid(f"{path} cannot be written ({error.strerror}): choose another place for --html") from error
    print(f"the page is {path}: open it in any browser; it needs no network")
