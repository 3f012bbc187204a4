"""The verbs that train: fit, resume, set."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from trainwell.cli.words import Debug, Json, RunPath, assignments, print_json, print_run


def fit(
    source: Annotated[
        Optional[str],
        typer.Argument(metavar="SOURCE", help="A folder, a file, or a built-in set; else the recipe's, or digits."),
    ] = None,
    model: Annotated[
        Optional[str], typer.Option(metavar="CHOICE", help="Or my_net.py:Net, a network of your own.")
    ] = None,
    init: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="First weights, such as he or lsuv.")] = None,
    optimizer: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as sgd:lr=0.1.")] = None,
    schedule: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cosine:warmup=1.")] = None,
    loss: Annotated[Optional[str], typer.Option(metavar="CHOICE", help="Such as cross_entropy:smoothing=0.1.")] = None,
    penalty: Annotated[
        Optional[list[str]],
        typer.Option(metavar="CHOICE", help="Added to the loss, such as l2:strength=1e-4; may be repeated."),
    ] = None,
    task: Annotated[
        Optional[str], typer.Option(metavar="TASK", help="classes, numbers or labels; else what the targets hold says.")
    ] = None,
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
            set=assignments(values or []),
            with_files=with_files or (),
            model=model,
            init=init,
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
