"""The verb that tries learning rates before training: lr-find."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from trainwell.cli.options import (
    AugmentationChoices,
    BatchSize,
    Deterministic,
    DeviceName,
    FromSource,
    ImageSize,
    InitChoice,
    LossChoice,
    ModelChoice,
    PenaltyChoices,
    PreprocessingChoice,
    RecipePath,
    RunSeed,
    Source,
    TaskName,
    TransferMethod,
    Values,
    WithFiles,
)
from trainwell.cli.words import Debug, Json, assignments, print_json, write_figure

if TYPE_CHECKING:
    from trainwell.train.range_found import FoundRate


def lr_find(
    source: Source = None,
    model: ModelChoice = None,
    init: InitChoice = None,
    from_: FromSource = None,
    transfer: TransferMethod = None,
    optimizer: Annotated[
        Optional[str], typer.Option(metavar="CHOICE", help="Such as sgd; its lr is left aside.")
    ] = None,
    schedule: Annotated[
        Optional[str], typer.Option(metavar="CHOICE", help="Of the run to come; the test itself has its own.")
    ] = None,
    loss: LossChoice = None,
    penalty: PenaltyChoices = None,
    task: TaskName = None,
    preprocessing: PreprocessingChoice = None,
    augment: AugmentationChoices = None,
    epochs: Annotated[Optional[int], typer.Option(metavar="N", help="Of the run to come.")] = None,
    minutes: Annotated[Optional[float], typer.Option(metavar="N", help="Of the run to come.")] = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    seed: RunSeed = None,
    device: DeviceName = None,
    deterministic: Deterministic = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave files that cannot be used out.")] = False,
    values: Values = None,
    recipe: RecipePath = None,
    with_files: WithFiles = None,
    out: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE.html", help="The picture, a page that needs no network; else below runs/."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Try learning rates on mini-batches, and say which are too low, good and too high.

    Takes the words of fit, trains nothing, and leaves only the picture. The exit code is 1 where the losses give no
    answer.
    """
    from trainwell.cli.beginning import Beginning
    from trainwell.surface import lr_find as find
    from trainwell.terminal import showing

    with showing() as reporter:
        found = find(
            source,
            recipe=recipe,
            reporter=Beginning(reporter),
            set=assignments(values or []),
            with_files=with_files or (),
            model=model,
            init=init,
            from_=from_,
            transfer=transfer,
            optimizer=optimizer,
            schedule=schedule,
            loss=loss,
            penalties=penalty,
            task=task,
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
    path = out or _picture_path(source)
    write_figure(found.picture(), path)
    _print(found, path)
    if as_json:
        print_json({**found.to_plain(), "out": str(path)})
    if found.suggestion is None:
        raise typer.Exit(1)


def _picture_path(source: str | None) -> Path:
    from trainwell.train.folder import default_path

    path = default_path(Path("runs"), "lr-find", (source or "").partition(":")[0])
    path.parent.mkdir(exist_ok=True)
    return path.with_name(f"{path.name}.html")


def _print(found: "FoundRate", path: Path) -> None:
    lines = [("swept", f"{len(found.losses)} times {len(found.rates)} steps of {found.optimizer.partition(':')[0]}")]
    lines += [("ended", end) for end in found.ends]
    if found.good is None or found.suggestion is None:
        lines.append(("no answer", found.reason))
    else:
        low, high = found.good
        name = found.schedule.partition(":")[0]
        lines.append(("good", f"from {low:.2g} to {high:.2g}: {found.reason}"))
        lines.append(("suggested", f"lr={found.suggestion:g}, well inside the good ones, as the top of {name}"))
    lines.append(("picture", str(path)))
    for word, words in lines:
        print(f"{word:<10} {words}")
