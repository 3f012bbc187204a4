"""What all verbs share: common options, and how answers are printed."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from trainwell.errors import OptionInvalid

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


def assignments(texts: list[str]) -> dict[str, Any]:
    from trainwell.core.choice import read_value

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise OptionInvalid(f"a value is set as name=value, got {text!r}")
        if name.strip() in values:
            raise OptionInvalid(f"{name.strip()} is given twice, the second time as {text!r}: give it once")
        values[name.strip()] = read_value(value)
    return values


def print_run(run: Any, as_json: bool) -> None:
    """Print what came of a run."""
    from trainwell.words import closing

    for line in closing(run):
        print(line)
    if as_json:
        metrics = run.metrics
        print_json(
            {
                "run": str(run.path),
                "task": run.task,
                "val_score": run.val_score,
                "test_score": run.test_score,
                "val_accuracy": run.val_accuracy,
                "test_accuracy": run.test_accuracy,
                "seconds": round(run.seconds, 3),
                "epochs": run.epochs,
                "recipe": run.recipe.id,
                "report": str(run.path / "report.html"),
                "metrics": None if metrics is None else metrics.to_plain(),
            }
        )


def print_json(plain: dict[str, Any]) -> None:
    print(json.dumps(_strict(plain), default=str, allow_nan=False), flush=True)


def _strict(value: Any) -> Any:
    """Return plain data with null where a number is not finite, for which JSON has no word."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value


def write_figure(figure: Any, path: Path) -> None:
    """Write a Plotly figure as a page that needs no network.

    Raises:
        OptionInvalid: the file cannot be written.
    """
    try:
        figure.update_layout(paper_bgcolor="#ffffff").write_html(
            path, include_plotlyjs=True, config={"displayModeBar": False}
        )
    except OSError as error:
        raise OptionInvalid(f"{path} cannot be written ({error.strerror}): choose another place") from error
