"""The verbs that use a finished run: predict, evaluate, report."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from trainwell.cli.words import Debug, Json, RunPath, print_json

Device = Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, …; auto is a GPU where there is one.")]


def predict(
    run: RunPath,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES…", help="Images, folders of images, or tables of features.")
    ],
    csv: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Write a table: one line an input, with all probabilities.")
    ] = None,
    threshold: Annotated[
        Optional[float],
        typer.Option(
            metavar="P", help='Confidence below which the answer is "don\'t know"; of labels, from which one is true.'
        ),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave files that cannot be used out.")] = False,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what images or rows of a table are, with the classifier of a run."""
    from trainwell.classifier import load
    from trainwell.classifier.tables import check_table

    if csv is not None:
        check_table(csv)
    predictions = load(run, device=device).predict(files, threshold=threshold, skip_bad=skip_bad)
    written = predictions.to_csv(csv) if csv is not None else None
    print(predictions)
    if written is not None:
        count = len(predictions)
        answers, are = ("1 answer", "is") if count == 1 else (f"{count:,} answers", "are")
        detail = "" if hasattr(predictions, "numbers") else " with all probabilities"
        print(f"{answers}{detail} {are} in {written}")
    if as_json:
        print_json({"run": str(run), **predictions.to_plain()})


def evaluate(
    run: RunPath,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A labelled source, as for fit.")],
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="train, val, test or all; auto is its test split, else all.")
    ] = "auto",
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure the classifier of a run on any labelled source."""
    from trainwell.surface import evaluate as measure

    found = measure(run, source, split=split, device=device)  # type: ignore[arg-type]
    print(found.metrics)
    for note in found.notes:
        print(f"note: {note}")
    if as_json:
        notes = [*found.notes, *found.metrics.notes]
        print_json({"run": str(run), "source": source, **found.metrics.to_plain(), "notes": notes})


def report(run: RunPath, as_json: Json = False, debug: Debug = False) -> None:
    """Write the page of a run, finished or not."""
    from trainwell.report import write_report

    path = write_report(run)
    print(f"the report is {path}: open it in any browser; it needs no network")
    if as_json:
        print_json({"run": str(run), "report": str(path)})
