"""The verbs that train: fit, resume, set."""

from pathlib import Path
from typing import Annotated, Optional

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
from trainwell.cli.words import Debug, Json, RunPath, assignments, print_json, print_run


def fit(
    source: Source = None,
    model: ModelChoice = None,
    init: InitChoice = None,
    from_: FromSource = None,
    transfer: TransferMethod = None,
    optimizer: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as sgd:lr=0.1.")] = None,
    schedule: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cosine:warmup=1.")] = None,
    loss: LossChoice = None,
    penalty: PenaltyChoices = None,
    task: TaskName = None,
    preprocessing: PreprocessingChoice = None,
    augment: AugmentationChoices = None,
    epochs: Annotated[Optional[int], typer.Option(metavar="N", help="Passes over the training split.")] = None,
    minutes: Annotated[
        Optional[float], typer.Option(metavar="N", help="Time allowed; the epochs follow from it.")
    ] = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    seed: RunSeed = None,
    device: DeviceName = None,
    deterministic: Deterministic = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave files that cannot be used out; data.json names them.")
    ] = False,
    values: Values = None,
    recipe: RecipePath = None,
    with_files: WithFiles = None,
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
    print_run(run, as_json)


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
    print_run(finished, as_json)


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

    wanted = assignments(values)
    is_running = change(run, wanted)
    words = ", ".join(f"{name}={value}" for name, value in wanted.items())
    later = "as soon as it goes on (`trainwell resume`, with --epochs where it is finished)"
    when = "from its next look on" if is_running else later
    print(f"{run} trains with {words} {when}")
    if as_json:
        print_json({"run": str(run), "set": wanted, "is_running": is_running})
